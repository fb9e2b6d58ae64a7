// SPDX-License-Identifier: Apache-2.0
// A member of a group with Apache Kafka's own client: BROKERS GROUP TOPIC [SETTING=VALUE...], as
// members.py tells.

import java.io.FileOutputStream;
import java.io.FileDescriptor;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.CloseOptions;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.errors.UnknownMemberIdException;
import org.apache.kafka.common.serialization.StringDeserializer;

public class Member implements ConsumerRebalanceListener {
    static final PrintStream out = new PrintStream(new FileOutputStream(FileDescriptor.out), false);
    static volatile boolean going = true;
    final KafkaConsumer<String, String> consumer;

    Member(Map<String, Object> settings) {
        consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer());
    }

    void say(String kind, Collection<TopicPartition> partitions) {
        for (TopicPartition where : partitions) {
            out.println(kind + " " + where.partition());
        }
        out.flush();
    }

    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
        say("A", partitions);
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
        say("R", partitions);
        if (!partitions.isEmpty()) {
            commit();
        }
    }

    @Override
    public void onPartitionsLost(Collection<TopicPartition> partitions) {
        say("L", partitions);
    }

    void commit() {
        try {
            consumer.commitSync(Duration.ofSeconds(2));
        } catch (CommitFailedException | RebalanceInProgressException | RetriableException e) {
            System.err.println("commit: " + e);
        } catch (KafkaException e) {
            System.err.println("commit, unexpected: " + e);
        }
    }

    /** A member that was put out of its group while it asked for offsets hears of it here, and joins again. */
    ConsumerRecords<String, String> poll() {
        try {
            return consumer.poll(Duration.ofMillis(100));
        } catch (UnknownMemberIdException e) {
            System.err.println("poll: " + e);
            return ConsumerRecords.empty();
        }
    }

    void follow() {
        long since = System.nanoTime();
        boolean dirty = false;
        while (going) {
            for (ConsumerRecord<String, String> record : poll()) {
                out.println("P " + record.partition() + " " + record.offset() + " " + record.value());
                dirty = true;
            }
            out.flush();
            if (dirty && System.nanoTime() - since > 200_000_000) {
                commit();
                since = System.nanoTime();
                dirty = false;
            }
        }
    }

    public static void main(String[] args) throws Exception {
        Map<String, Object> settings = new HashMap<>();
        settings.put("bootstrap.servers", args[0]);
        settings.put("group.id", args[1]);
        settings.put("enable.auto.commit", false);
        settings.put("reconnect.backoff.max.ms", 200);
        for (int i = 3; i < args.length; i++) {
            int at = args[i].indexOf('=');
            settings.put(args[i].substring(0, at), args[i].substring(at + 1));
        }
        Thread main = Thread.currentThread();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            going = false;
            try {
                main.join(30000);
            } catch (InterruptedException e) {
                System.err.println(e);
            }
        }));
        Member member = new Member(settings);
        member.consumer.subscribe(List.of(args[2]), member);
        try {
            member.follow();
        } catch (Throwable e) {
            e.printStackTrace();
            Runtime.getRuntime().halt(1);
        }
        member.consumer.close(CloseOptions.timeout(Duration.ofSeconds(10)));
    }
}
