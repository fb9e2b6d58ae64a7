// SPDX-License-Identifier: Apache-2.0

import com.rabbitmq.stream.ByteCapacity;
import com.rabbitmq.stream.Environment;
import com.rabbitmq.stream.Message;
import com.rabbitmq.stream.OffsetSpecification;
import com.rabbitmq.stream.Producer;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;

/**
 * Loads a stream: publishes as fast as confirms come, consumes, publishes one message at a time, or
 * publishes at a rate and measures each message's way to a consumer from the moment it was due.
 * Prints one line of JSON. Run from its source by rabbitmq.py.
 *
 * <p>PORT create STREAM | produce STREAM SIZE COUNT PRODUCERS | consume STREAM SIZE COUNT | single
 * STREAM SIZE SECONDS | paced STREAM SIZE RATE SECONDS
 */
public class RabbitBench {
    static final int TIMEOUT_S = 300;
    static final AtomicInteger failed = new AtomicInteger();
    static Environment environment;
    static String stream;

    public static void main(String[] arguments) throws Exception {
        int port = Integer.parseInt(arguments[0]);
        stream = arguments[2];
        int[] numbers = Arrays.stream(arguments).skip(3).mapToInt(Integer::parseInt).toArray();
        environment = Environment.builder().host("127.0.0.1").port(port).build();
        String result = switch (arguments[1]) {
            case "create" -> create();
            case "produce" -> produce(numbers[0], numbers[1], numbers[2]);
            case "consume" -> consume(numbers[1]);
            case "single" -> single(numbers[0], numbers[1]);
            case "paced" -> paced(numbers[0], numbers[1], numbers[2]);
            default -> throw new IllegalArgumentException(arguments[1]);
        };
        if (failed.get() > 0)
            throw new IllegalStateException(failed.get() + " messages were not stored");
        System.out.println(result);
        System.exit(0);
    }

    static String create() {
        environment.streamCreator().stream(stream).maxSegmentSizeBytes(ByteCapacity.MB(500)).create();
        return "{}";
    }

    static Producer producer() {
        return environment.producerBuilder().stream(stream).build();
    }

    static byte[] payload(int size) {
        byte[] value = new byte[size];
        new Random(size).nextBytes(value);
        return value;
    }

    static void send(Producer producer, byte[] value, CountDownLatch confirmed) {
        producer.send(producer.messageBuilder().addData(value).build(), status -> {
            if (!status.isConfirmed())
                failed.incrementAndGet();
            confirmed.countDown();
        });
    }

    static void await(CountDownLatch latch) throws InterruptedException {
        if (!latch.await(TIMEOUT_S, TimeUnit.SECONDS))
            throw new IllegalStateException(latch.getCount() + " messages are missing");
    }

    static String produce(int size, int count, int producers) throws Exception {
        byte[] value = payload(size);
        CountDownLatch confirmed = new CountDownLatch(count);
        List<Producer> all = new ArrayList<>();
        for (int i = 0; i < producers; i++)
            all.add(producer());
        long begin = System.nanoTime();
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < producers; i++) {
            Producer one = all.get(i);
            int share = count / producers + (i < count % producers ? 1 : 0);
            threads.add(new Thread(() -> {
                for (int sent = 0; sent < share; sent++)
                    send(one, value, confirmed);
            }));
        }
        threads.forEach(Thread::start);
        await(confirmed);
        return result(count, System.nanoTime() - begin, null);
    }

    static String consume(int count) throws Exception {
        CountDownLatch received = new CountDownLatch(count);
        long begin = System.nanoTime();
        environment.consumerBuilder().stream(stream).offset(OffsetSpecification.first())
                .messageHandler((context, message) -> received.countDown()).build();
        await(received);
        return result(count, System.nanoTime() - begin, null);
    }

    static String single(int size, int seconds) throws Exception {
        byte[] value = payload(size);
        // A batch that waits for more messages would only make one wait.
        Producer producer = environment.producerBuilder().stream(stream).batchSize(1).build();
        long[] times = new long[seconds * 200000];
        int done = 0;
        long begin = System.nanoTime();
        while (System.nanoTime() - begin < seconds * 1_000_000_000L && done < times.length) {
            CountDownLatch confirmed = new CountDownLatch(1);
            long sent = System.nanoTime();
            send(producer, value, confirmed);
            await(confirmed);
            times[done++] = System.nanoTime() - sent;
        }
        return result(done, System.nanoTime() - begin, Arrays.copyOf(times, done));
    }

    static String paced(int size, int rate, int seconds) throws Exception {
        int total = rate * seconds;
        long[] times = new long[total];
        AtomicInteger place = new AtomicInteger();
        CountDownLatch received = new CountDownLatch(total);
        CountDownLatch confirmed = new CountDownLatch(total);
        environment.consumerBuilder().stream(stream).offset(OffsetSpecification.first())
                .messageHandler((context, message) -> {
                    times[place.getAndIncrement()] = System.nanoTime() - stamp(message);
                    received.countDown();
                }).build();
        // The batch delay is what a message waits for others: as short as it can be.
        Producer producer = environment.producerBuilder().stream(stream)
                .batchPublishingDelay(java.time.Duration.ZERO).build();
        long begin = System.nanoTime();
        for (int i = 0; i < total; i++) {
            long due = begin + (long) (i * 1e9 / rate);
            long wait;
            while ((wait = due - System.nanoTime()) > 0)
                LockSupport.parkNanos(wait);
            byte[] value = new byte[size];
            ByteBuffer.wrap(value).putLong(due);
            send(producer, value, confirmed);
        }
        long took = System.nanoTime() - begin;
        await(confirmed);
        await(received);
        return result(total, took, times);
    }

    static long stamp(Message message) {
        return ByteBuffer.wrap(message.getBodyAsBinary()).getLong();
    }

    static String result(int messages, long nanoseconds, long[] times) {
        StringBuilder text = new StringBuilder(
                String.format("{\"messages\": %d, \"seconds\": %.6f", messages, nanoseconds / 1e9));
        if (times != null && times.length > 0) {
            Arrays.sort(times);
            String[] names = {"p50_us", "p99_us", "p999_us", "p9999_us", "max_us"};
            double[] quantiles = {0.5, 0.99, 0.999, 0.9999, 1};
            for (int i = 0; i < names.length; i++) {
                int at = Math.min((int) (quantiles[i] * times.length), times.length - 1);
                text.append(String.format(", \"%s\": %.1f", names[i], times[at] / 1e3));
            }
        }
        return text.append("}").toString();
    }
}
