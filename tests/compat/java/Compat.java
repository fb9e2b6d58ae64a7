// SPDX-License-Identifier: Apache-2.0
// Apache Kafka's own Java clients against the broker: Compat BOOTSTRAP [CASE...].

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.DescribeClusterResult;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.clients.consumer.SubscriptionPattern;
import org.apache.kafka.common.GroupType;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.InvalidReplicationFactorException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public class Compat {
    interface Case {
        void run() throws Exception;
    }

    static String bootstrap;
    static Admin admin;
    static final Map<String, Case> cases = new LinkedHashMap<>();

    public static void main(String[] args) throws Exception {
        bootstrap = args[0];
        List<String> wanted = Arrays.asList(args).subList(1, args.length);
        Map<String, Object> settings = new HashMap<>();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("default.api.timeout.ms", 20000);
        settings.put("request.timeout.ms", 10000);
        admin = Admin.create(settings);
        listCases();
        for (Map.Entry<String, Case> entry : cases.entrySet()) {
            if (wanted.isEmpty() || wanted.contains(entry.getKey())) {
                runCase(entry.getKey(), entry.getValue());
            }
        }
        System.exit(0);
    }

    static void runCase(String name, Case body) {
        try {
            body.run();
            say(name, "ok", "");
        } catch (Throwable e) {
            Throwable cause = e instanceof ExecutionException ? e.getCause() : e;
            say(name, "fail", cause.toString());
            if (System.getenv("COMPAT_TRACE") != null) {
                cause.printStackTrace();
            }
        }
    }

    static void say(String name, String outcome, String reason) {
        System.out.println(name + "\t" + outcome + "\t" + reason.replace('\n', ' '));
        System.out.flush();
    }

    static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    static void equal(Object got, Object want, String what) {
        check(got == null ? want == null : got.equals(want), what + " is " + got + ", not " + want);
    }

    /** Waits for a result that must be this error. */
    static void refused(Class<? extends Throwable> error, Future<?> result) throws Exception {
        try {
            result.get(20, TimeUnit.SECONDS);
        } catch (ExecutionException e) {
            check(error.isInstance(e.getCause()), "refused with " + e.getCause());
            return;
        }
        throw new AssertionError("not refused with " + error.getSimpleName());
    }

    static String create(String name, int partitions, String... settings) throws Exception {
        Map<String, String> configs = new HashMap<>();
        for (int i = 0; i < settings.length; i += 2) {
            configs.put(settings[i], settings[i + 1]);
        }
        String topic = "java-" + name;
        admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1).configs(configs))).all().get();
        return topic;
    }

    static KafkaProducer<byte[], byte[]> producer(Object... settings) {
        Map<String, Object> configs = new HashMap<>();
        configs.put("bootstrap.servers", bootstrap);
        configs.put("max.block.ms", 20000);
        configs.put("delivery.timeout.ms", 60000);
        configs.put("request.timeout.ms", 10000);
        for (int i = 0; i < settings.length; i += 2) {
            configs.put((String) settings[i], settings[i + 1]);
        }
        return new KafkaProducer<>(configs, new ByteArraySerializer(), new ByteArraySerializer());
    }

    static KafkaConsumer<byte[], byte[]> consumer(Object... settings) {
        Map<String, Object> configs = new HashMap<>();
        configs.put("bootstrap.servers", bootstrap);
        configs.put("enable.auto.commit", false);
        configs.put("auto.offset.reset", "none");
        configs.put("allow.auto.create.topics", false);
        configs.put("default.api.timeout.ms", 20000);
        for (int i = 0; i < settings.length; i += 2) {
            configs.put((String) settings[i], settings[i + 1]);
        }
        return new KafkaConsumer<>(configs, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static List<ConsumerRecord<byte[], byte[]>> poll(KafkaConsumer<byte[], byte[]> consumer, int count) {
        List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
        long deadline = System.currentTimeMillis() + 20000;
        while (records.size() < count && System.currentTimeMillis() < deadline) {
            consumer.poll(Duration.ofMillis(500)).forEach(records::add);
        }
        check(records.size() >= count, "read " + records.size() + " of " + count + " records");
        return records;
    }

    static List<ConsumerRecord<byte[], byte[]>> read(String topic, int count, Object... settings) {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(settings)) {
            TopicPartition partition = new TopicPartition(topic, 0);
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            return poll(consumer, count);
        }
    }

    /** Produces numbered records and finds them again, in order, at their offsets. */
    static void roundTrip(String name, Object... settings) throws Exception {
        String topic = create(name, 1);
        int count = 500;
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> producer = producer(settings)) {
            for (int i = 0; i < count; i++) {
                sent.add(producer.send(new ProducerRecord<>(topic, bytes("key" + i), value(i))));
            }
            producer.flush();
        }
        boolean answered = !Arrays.asList(settings).contains("0");
        for (int i = 0; i < count; i++) {
            RecordMetadata metadata = sent.get(i).get();
            check(!answered || metadata.offset() == i, "offset of " + i + " is " + metadata.offset());
        }
        List<ConsumerRecord<byte[], byte[]>> records = read(topic, count, "check.crcs", true);
        equal(records.size(), count, "count");
        for (int i = 0; i < count; i++) {
            equal(records.get(i).offset(), (long) i, "offset");
            check(Arrays.equals(records.get(i).value(), value(i)), "the value of record " + i);
            check(Arrays.equals(records.get(i).key(), bytes("key" + i)), "the key of record " + i);
        }
    }

    static byte[] value(int i) {
        return bytes("record " + i + " of many, all much alike and so good to compress".repeat(3));
    }

    static void listCases() {
        cases.put("metadata", Compat::metadata);
        cases.put("topic-create", Compat::topicCreate);
        cases.put("topic-delete", Compat::topicDelete);
        cases.put("partitions", Compat::partitions);
        cases.put("config-read", Compat::configRead);
        cases.put("config-change", Compat::configChange);
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            cases.put("codec-" + codec,
                () -> roundTrip("codec-" + codec, "compression.type", codec, "linger.ms", 10));
        }
        for (String acks : List.of("0", "1", "all")) {
            cases.put("acks-" + acks, () -> roundTrip("acks-" + acks, "acks", acks));
        }
        cases.put("headers", Compat::headers);
        cases.put("timestamps", Compat::timestamps);
        cases.put("append-time", Compat::appendTime);
        cases.put("null", Compat::nulls);
        cases.put("large", Compat::large);
        cases.put("too-large", Compat::tooLarge);
        cases.put("assign", Compat::assign);
        cases.put("read-committed", Compat::readCommitted);
        cases.put("offsets", Compat::offsets);
        cases.put("offsets-by-time", Compat::offsetsByTime);
        cases.put("delete-records", Compat::deleteRecords);
        cases.put("commit", Compat::commit);
        cases.put("unknown-topic", Compat::unknownTopic);
        cases.put("auto-create", Compat::autoCreate);
        cases.put("bad-topic", Compat::badTopic);
        cases.put("out-of-range", Compat::outOfRange);
        cases.put("restart", Compat::restart);
        cases.put("once", Compat::once);
        cases.put("idempotent", Compat::idempotent);
        cases.put("transaction", Compat::transaction);
        cases.put("group", Compat::group);
        cases.put("group-next", Compat::groupNext);
    }

    static void metadata() throws Exception {
        String topic = create("metadata", 3);
        DescribeClusterResult cluster = admin.describeCluster();
        check(!cluster.clusterId().get().isEmpty(), "no cluster id");
        equal(cluster.nodes().get().size(), 1, "brokers");
        equal(cluster.controller().get().id(), cluster.nodes().get().iterator().next().id(), "controller");
        check(admin.listTopics().names().get().contains(topic), "the topic is not listed");
        TopicDescription described = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
        equal(described.partitions().size(), 3, "partitions");
        TopicDescription byId = admin.describeTopics(
            org.apache.kafka.common.TopicCollection.ofTopicIds(List.of(described.topicId())))
            .allTopicIds().get().get(described.topicId());
        equal(byId.name(), topic, "the name of the topic id");
        try (KafkaConsumer<byte[], byte[]> consumer = consumer()) {
            equal(consumer.partitionsFor(topic).size(), 3, "partitions");
            check(consumer.listTopics().containsKey(topic), "the topic is not listed");
        }
    }

    static void topicCreate() throws Exception {
        NewTopic topic = new NewTopic("java-created", Optional.of(4), Optional.empty());
        topic.configs(Map.of("retention.ms", "1234567", "cleanup.policy", "delete"));
        var result = admin.createTopics(List.of(topic));
        equal(result.numPartitions("java-created").get(), 4, "partitions");
        equal(result.replicationFactor("java-created").get(), 1, "replication factor");
        equal(result.config("java-created").get().get("retention.ms").value(), "1234567", "retention.ms");
        check(!result.topicId("java-created").get().toString().isEmpty(), "no topic id");
        refused(TopicExistsException.class, admin.createTopics(List.of(topic)).all());
        admin.createTopics(List.of(new NewTopic("java-imagined", 1, (short) 1)),
            new org.apache.kafka.clients.admin.CreateTopicsOptions().validateOnly(true)).all().get();
        check(!admin.listTopics().names().get().contains("java-imagined"), "validated, and created");
    }

    static void topicDelete() throws Exception {
        String topic = create("deleted", 1);
        try (KafkaProducer<byte[], byte[]> producer = producer()) {
            producer.send(new ProducerRecord<>(topic, bytes("v"))).get();
        }
        admin.deleteTopics(List.of(topic)).all().get();
        check(!admin.listTopics().names().get().contains(topic), "still listed");
        refused(UnknownTopicOrPartitionException.class, admin.deleteTopics(List.of(topic)).all());
        create("deleted", 1);
        try (KafkaConsumer<byte[], byte[]> consumer = consumer()) {
            TopicPartition partition = new TopicPartition(topic, 0);
            equal(consumer.endOffsets(List.of(partition)).get(partition), 0L, "end");
        }
        admin.deleteTopics(org.apache.kafka.common.TopicCollection.ofTopicIds(List.of(
            admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).topicId()))).all().get();
        check(!admin.listTopics().names().get().contains(topic), "still listed");
    }

    static void partitions() throws Exception {
        String topic = create("grown", 1);
        admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3))).all().get();
        try (KafkaProducer<byte[], byte[]> producer = producer()) {
            RecordMetadata sent = producer.send(new ProducerRecord<>(topic, 2, null, bytes("v"))).get();
            equal(sent.partition(), 2, "partition");
        }
        refused(InvalidPartitionsException.class,
            admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(2))).all());
    }

    static void configRead() throws Exception {
        ConfigResource topic = new ConfigResource(ConfigResource.Type.TOPIC, create("config", 1, "retention.ms", "5000000"));
        Config config = admin.describeConfigs(List.of(topic)).all().get().get(topic);
        equal(config.get("retention.ms").value(), "5000000", "retention.ms");
        equal(config.get("retention.ms").source(), ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, "source");
        equal(config.get("cleanup.policy").value(), "delete", "cleanup.policy");
        String id = Integer.toString(admin.describeCluster().nodes().get().iterator().next().id());
        ConfigResource broker = new ConfigResource(ConfigResource.Type.BROKER, id);
        config = admin.describeConfigs(List.of(broker)).all().get().get(broker);
        equal(config.get("default.replication.factor").value(), "1", "default.replication.factor");
    }

    static void configChange() throws Exception {
        ConfigResource topic = new ConfigResource(ConfigResource.Type.TOPIC, create("changed", 1));
        alter(topic, new ConfigEntry("retention.ms", "777"), AlterConfigOp.OpType.SET).get();
        equal(admin.describeConfigs(List.of(topic)).all().get().get(topic).get("retention.ms").value(),
            "777", "retention.ms");
        alter(topic, new ConfigEntry("retention.ms", ""), AlterConfigOp.OpType.DELETE).get();
        check(admin.describeConfigs(List.of(topic)).all().get().get(topic).get("retention.ms").isDefault(),
            "retention.ms is not the default again");
        refused(InvalidConfigurationException.class,
            alter(topic, new ConfigEntry("retention.ms", "long"), AlterConfigOp.OpType.SET));
        refused(InvalidConfigurationException.class,
            alter(topic, new ConfigEntry("no.such.setting", "1"), AlterConfigOp.OpType.SET));
    }

    static Future<Void> alter(ConfigResource resource, ConfigEntry entry, AlterConfigOp.OpType how) {
        Collection<AlterConfigOp> changes = List.of(new AlterConfigOp(entry, how));
        return admin.incrementalAlterConfigs(Map.of(resource, changes)).all();
    }

    static void headers() throws Exception {
        String topic = create("headers", 1);
        RecordHeaders headers = new RecordHeaders();
        headers.add("a", bytes("1")).add("a", bytes("2")).add("null", null).add("empty", new byte[0]);
        try (KafkaProducer<byte[], byte[]> producer = producer()) {
            producer.send(new ProducerRecord<>(topic, 0, bytes("k"), bytes("v"), headers)).get();
        }
        Header[] got = read(topic, 1).get(0).headers().toArray();
        check(Arrays.equals(got, headers.toArray()), "headers are " + Arrays.toString(got));
    }

    static void timestamps() throws Exception {
        String topic = create("timestamps", 1);
        try (KafkaProducer<byte[], byte[]> producer = producer()) {
            producer.send(new ProducerRecord<>(topic, 0, 1234567890123L, null, bytes("v"))).get();
        }
        ConsumerRecord<byte[], byte[]> got = read(topic, 1).get(0);
        equal(got.timestamp(), 1234567890123L, "timestamp");
        equal(got.timestampType(), TimestampType.CREATE_TIME, "type");
    }

    static void appendTime() throws Exception {
        String topic = create("append-time", 1, "message.timestamp.type", "LogAppendTime");
        long before = System.currentTimeMillis();
        RecordMetadata sent;
        try (KafkaProducer<byte[], byte[]> producer = producer("compression.type", "gzip")) {
            sent = producer.send(new ProducerRecord<>(topic, 0, 1L, null, bytes("v"))).get();
        }
        ConsumerRecord<byte[], byte[]> got = read(topic, 1, "check.crcs", true).get(0);
        check(got.timestamp() >= before, "timestamp " + got.timestamp() + " before " + before);
        equal(got.timestamp(), sent.timestamp(), "timestamp");
        equal(got.timestampType(), TimestampType.LOG_APPEND_TIME, "type");
    }

    static void nulls() throws Exception {
        String topic = create("null", 1);
        byte[][][] pairs = {{null, bytes("v")}, {bytes("k"), null}, {null, null}, {new byte[0], new byte[0]}};
        try (KafkaProducer<byte[], byte[]> producer = producer()) {
            for (byte[][] pair : pairs) {
                producer.send(new ProducerRecord<>(topic, pair[0], pair[1])).get();
            }
        }
        List<ConsumerRecord<byte[], byte[]>> records = read(topic, pairs.length);
        for (int i = 0; i < pairs.length; i++) {
            check(Arrays.equals(records.get(i).key(), pairs[i][0]), "the key of pair " + i);
            check(Arrays.equals(records.get(i).value(), pairs[i][1]), "the value of pair " + i);
        }
    }

    static void large() throws Exception {
        String topic = create("large", 1, "max.message.bytes", "6000000");
        byte[] value = new byte[5000000];
        new java.util.Random(1).nextBytes(value);
        try (KafkaProducer<byte[], byte[]> producer = producer("max.request.size", 6000000)) {
            producer.send(new ProducerRecord<>(topic, value)).get();
        }
        check(Arrays.equals(read(topic, 1).get(0).value(), value), "another value");
    }

    static void tooLarge() throws Exception {
        String topic = create("too-large", 1, "max.message.bytes", "1000");
        try (KafkaProducer<byte[], byte[]> producer = producer()) {
            refused(RecordTooLargeException.class, producer.send(new ProducerRecord<>(topic, new byte[5000])));
            producer.send(new ProducerRecord<>(topic, new byte[50])).get();
        }
    }

    static String numbered(String name, int partitions, int count, int linger_ms) throws Exception {
        String topic = create(name, partitions);
        try (KafkaProducer<byte[], byte[]> producer = producer("linger.ms", linger_ms, "compression.type", "lz4")) {
            for (int i = 0; i < count; i++) {
                for (int p = 0; p < partitions; p++) {
                    producer.send(new ProducerRecord<>(topic, p, 1600000000000L + i * 1000L, null, value(i)));
                }
            }
        }
        return topic;
    }

    static void assign() throws Exception {
        String topic = numbered("assign", 2, 100, 50);
        List<TopicPartition> both = List.of(new TopicPartition(topic, 0), new TopicPartition(topic, 1));
        try (KafkaConsumer<byte[], byte[]> consumer = consumer("max.poll.records", 7)) {
            consumer.assign(both);
            consumer.seekToBeginning(both);
            poll(consumer, 200);
            consumer.seek(both.get(1), 42);
            ConsumerRecord<byte[], byte[]> got = poll(consumer, 1).get(0);
            equal(got.offset(), 42L, "offset after seek");
            equal(got.partition(), 1, "partition");
            equal(consumer.currentLag(both.get(1)).isPresent(), true, "lag");
        }
    }

    static void readCommitted() throws Exception {
        String topic = numbered("read-committed", 1, 20, 0);
        equal(read(topic, 20, "isolation.level", "read_committed").size(), 20, "count");
    }

    static void offsets() throws Exception {
        String topic = numbered("offsets", 1, 100, 50);
        TopicPartition partition = new TopicPartition(topic, 0);
        try (KafkaConsumer<byte[], byte[]> consumer = consumer()) {
            equal(consumer.beginningOffsets(List.of(partition)).get(partition), 0L, "beginning");
            equal(consumer.endOffsets(List.of(partition)).get(partition), 100L, "end");
        }
        for (Map.Entry<OffsetSpec, Long> entry : Map.of(OffsetSpec.earliest(), 0L, OffsetSpec.latest(), 100L,
                OffsetSpec.maxTimestamp(), 99L, OffsetSpec.earliestLocal(), 0L).entrySet()) {
            equal(admin.listOffsets(Map.of(partition, entry.getKey())).partitionResult(partition).get().offset(),
                entry.getValue(), entry.getKey().getClass().getSimpleName());
        }
    }

    static void offsetsByTime() throws Exception {
        TopicPartition partition = new TopicPartition(numbered("by-time", 1, 100, 50), 0);
        try (KafkaConsumer<byte[], byte[]> consumer = consumer()) {
            long[][] wanted = {{1599999999999L, 0}, {1600000000000L, 0}, {1600000041001L, 42}, {1600000099000L, 99}};
            for (long[] pair : wanted) {
                OffsetAndTimestamp found = consumer.offsetsForTimes(Map.of(partition, pair[0])).get(partition);
                equal(found.offset(), pair[1], "the offset of " + pair[0]);
                equal(found.timestamp(), 1600000000000L + pair[1] * 1000, "its timestamp");
            }
            equal(consumer.offsetsForTimes(Map.of(partition, 1700000000000L)).get(partition), null, "after the end");
        }
    }

    static void deleteRecords() throws Exception {
        TopicPartition partition = new TopicPartition(numbered("delete-records", 1, 100, 0), 0);
        var result = admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(30)));
        equal(result.lowWatermarks().get(partition).get().lowWatermark(), 30L, "low watermark");
        try (KafkaConsumer<byte[], byte[]> consumer = consumer()) {
            equal(consumer.beginningOffsets(List.of(partition)).get(partition), 30L, "beginning");
        }
        equal(read(partition.topic(), 70).get(0).offset(), 30L, "the first record");
        refused(org.apache.kafka.common.errors.OffsetOutOfRangeException.class,
            admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(500))).all());
    }

    static void commit() throws Exception {
        TopicPartition partition = new TopicPartition(numbered("commit", 2, 10, 0), 1);
        try (KafkaConsumer<byte[], byte[]> consumer = consumer("group.id", "java-standalone")) {
            consumer.assign(List.of(partition));
            equal(consumer.committed(Set.of(partition)).get(partition), null, "committed before");
            consumer.commitSync(Map.of(partition, new OffsetAndMetadata(7, "a note")));
        }
        try (KafkaConsumer<byte[], byte[]> consumer = consumer("group.id", "java-standalone")) {
            consumer.assign(List.of(partition));
            equal(consumer.committed(Set.of(partition)).get(partition), new OffsetAndMetadata(7, "a note"), "committed");
            equal(poll(consumer, 3).get(0).offset(), 7L, "the first record");
        }
        equal(admin.listConsumerGroupOffsets("java-standalone").partitionsToOffsetAndMetadata().get().get(partition)
            .offset(), 7L, "committed");
        admin.alterConsumerGroupOffsets("java-standalone", Map.of(partition, new OffsetAndMetadata(2))).all().get();
        equal(admin.listConsumerGroupOffsets("java-standalone").partitionsToOffsetAndMetadata().get().get(partition)
            .offset(), 2L, "altered");
    }

    static void unknownTopic() throws Exception {
        refused(UnknownTopicOrPartitionException.class, admin.describeTopics(List.of("java-nowhere")).allTopicNames());
        TopicPartition partition = new TopicPartition("java-nowhere", 0);
        try (KafkaConsumer<byte[], byte[]> consumer = consumer("default.api.timeout.ms", 1500)) {
            consumer.endOffsets(List.of(partition));
            throw new AssertionError("an unknown topic has an end");
        } catch (org.apache.kafka.common.errors.TimeoutException e) {
            check(!admin.listTopics().names().get().contains("java-nowhere"), "it was created");
        }
        String topic = create("one-partition", 1);
        try (KafkaProducer<byte[], byte[]> producer = producer("max.block.ms", 1500)) {
            refused(org.apache.kafka.common.errors.TimeoutException.class,
                producer.send(new ProducerRecord<>(topic, 9, null, bytes("v"))));
        }
    }

    static void autoCreate() throws Exception {
        try (KafkaProducer<byte[], byte[]> producer = producer()) {
            equal(producer.send(new ProducerRecord<>("java-by-itself", bytes("v"))).get().offset(), 0L, "offset");
        }
        check(Arrays.equals(read("java-by-itself", 1).get(0).value(), bytes("v")), "another value");
    }

    static void badTopic() throws Exception {
        for (String name : List.of("with space", "..", "x".repeat(250), "a/b")) {
            refused(InvalidTopicException.class, admin.createTopics(List.of(new NewTopic(name, 1, (short) 1))).all());
        }
        refused(InvalidReplicationFactorException.class,
            admin.createTopics(List.of(new NewTopic("java-copies", 1, (short) 3))).all());
        refused(InvalidPartitionsException.class,
            admin.createTopics(List.of(new NewTopic("java-none", 0, (short) 1))).all());
        refused(InvalidConfigurationException.class, admin.createTopics(List.of(
            new NewTopic("java-odd", 1, (short) 1).configs(Map.of("retention.ms", "long")))).all());
    }

    static void outOfRange() throws Exception {
        TopicPartition partition = new TopicPartition(create("out-of-range", 1), 0);
        try (KafkaConsumer<byte[], byte[]> consumer = consumer()) {
            consumer.assign(List.of(partition));
            consumer.seek(partition, 500);
            long deadline = System.currentTimeMillis() + 20000;
            while (System.currentTimeMillis() < deadline) {
                consumer.poll(Duration.ofMillis(500));
            }
            throw new AssertionError("no error");
        } catch (OffsetOutOfRangeException e) {
            equal(e.offsetOutOfRangePartitions().get(partition), 500L, "the offset in the error");
        }
    }

    /** Produces while the broker is killed; the value of each record acknowledged, by partition and offset. */
    static Map<String, Integer> produceInterrupted(String topic, int count, List<Integer> kills, Object... settings)
            throws Exception {
        Map<String, Integer> acknowledged = new HashMap<>();
        try (KafkaProducer<byte[], byte[]> producer = producer(settings)) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (int i = 0; i < count; i++) {
                sent.add(producer.send(new ProducerRecord<>(topic, i % 2, null, value(i))));
                if (kills.contains(i)) {
                    sent.get(i - i / 8).get();
                    System.out.println("restart-now");
                    System.out.flush();
                }
                if (i % 10 == 0) {
                    Thread.sleep(2);
                }
            }
            for (int i = 0; i < count; i++) {
                RecordMetadata metadata = sent.get(i).get();
                acknowledged.put(metadata.partition() + "/" + metadata.offset(), i);
            }
        }
        equal(acknowledged.size(), count, "different offsets acknowledged");
        return acknowledged;
    }

    static void restart() throws Exception {
        String topic = create("restart", 2);
        int count = 2000;
        Map<String, Integer> acknowledged = produceInterrupted(topic, count, List.of(count / 4), "acks", "all",
            "enable.idempotence", false, "reconnect.backoff.max.ms", 200);
        Set<String> missing = new HashSet<>(acknowledged.keySet());
        List<TopicPartition> both = List.of(new TopicPartition(topic, 0), new TopicPartition(topic, 1));
        try (KafkaConsumer<byte[], byte[]> consumer = consumer()) {
            consumer.assign(both);
            consumer.seekToBeginning(both);
            for (ConsumerRecord<byte[], byte[]> record : poll(consumer, count)) {
                String where = record.partition() + "/" + record.offset();
                Integer i = acknowledged.get(where);
                if (i != null) {
                    check(Arrays.equals(record.value(), value(i)), "another record at " + where);
                    missing.remove(where);
                }
            }
            long deadline = System.currentTimeMillis() + 5000;
            while (!missing.isEmpty() && System.currentTimeMillis() < deadline) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(500))) {
                    missing.remove(record.partition() + "/" + record.offset());
                }
            }
        }
        check(missing.isEmpty(), missing.size() + " acknowledged records are missing");
    }

    /** The client's own settings: idempotent. */
    static void once() throws Exception {
        String topic = create("once", 2);
        int count = 2000;
        Map<String, Integer> acknowledged = produceInterrupted(topic, count,
            List.of(count / 4, count / 2, count * 3 / 4), "reconnect.backoff.max.ms", 200);
        List<TopicPartition> both = List.of(new TopicPartition(topic, 0), new TopicPartition(topic, 1));
        try (KafkaConsumer<byte[], byte[]> consumer = consumer()) {
            for (long end : consumer.endOffsets(both).values()) {
                equal(end, (long) count / 2, "records in a partition");
            }
            consumer.assign(both);
            consumer.seekToBeginning(both);
            for (ConsumerRecord<byte[], byte[]> record : poll(consumer, count)) {
                int i = (int) record.offset() * 2 + record.partition();
                check(Arrays.equals(record.value(), value(i)), "not record " + i);
                equal(acknowledged.get(record.partition() + "/" + record.offset()), i, "what was acknowledged there");
            }
        }
    }

    static void idempotent() throws Exception {
        roundTrip("idempotent", "enable.idempotence", true, "max.block.ms", 5000, "delivery.timeout.ms", 10000,
            "request.timeout.ms", 5000);
    }

    static void transaction() throws Exception {
        String topic = create("transaction", 1);
        try (KafkaProducer<byte[], byte[]> producer = producer("enable.idempotence", true, "transactional.id",
                "java-transaction", "max.block.ms", 5000)) {
            producer.initTransactions();
            producer.beginTransaction();
            producer.send(new ProducerRecord<>(topic, bytes("aborted")));
            producer.abortTransaction();
            producer.beginTransaction();
            producer.send(new ProducerRecord<>(topic, bytes("committed")));
            producer.commitTransaction();
        }
        List<ConsumerRecord<byte[], byte[]>> got = read(topic, 1, "isolation.level", "read_committed");
        check(Arrays.equals(got.get(0).value(), bytes("committed")), "an aborted record was read");
    }

    static void group() throws Exception {
        String topic = numbered("group", 2, 10, 0);
        try (KafkaConsumer<byte[], byte[]> consumer = consumer("group.id", "java-group", "auto.offset.reset",
                "earliest")) {
            consumer.subscribe(List.of(topic));
            poll(consumer, 20);
            consumer.commitSync();
        }
    }

    /** Polls all, for what they are told happens there, until the partitions are split so. */
    static void untilSplit(List<KafkaConsumer<byte[], byte[]>> members, int each) {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
        while (members.stream().anyMatch(member -> member.assignment().size() != each)) {
            check(System.nanoTime() < end, "not split: " + members.stream().map(KafkaConsumer::assignment).toList());
            members.forEach(member -> member.poll(Duration.ofMillis(50)));
        }
    }

    static void groupNext() throws Exception {
        String topic = numbered("group-next", 2, 10, 0);
        String name = "java-group-next";
        Object[] settings = {"group.id", name, "auto.offset.reset", "earliest", "group.protocol", "consumer"};
        try (KafkaConsumer<byte[], byte[]> first = consumer(settings)) {
            first.subscribe(List.of(topic));
            poll(first, 20);
            first.commitSync();
            try (KafkaConsumer<byte[], byte[]> second = consumer(settings)) {
                second.subscribe(new SubscriptionPattern("java-gr.*-next"));
                untilSplit(List.of(first, second), 1);
                ConsumerGroupDescription group = admin.describeConsumerGroups(List.of(name)).all().get().get(name);
                equal(group.type(), GroupType.CONSUMER, "the group's type");
                equal(group.partitionAssignor(), "uniform", "the assignor");
                equal(group.members().size(), 2, "members");
            }
            untilSplit(List.of(first), 2);
        }
        Map<TopicPartition, OffsetAndMetadata> committed = admin.listConsumerGroupOffsets(name)
                .partitionsToOffsetAndMetadata().get();
        for (int i = 0; i < 2; i++) {
            equal(committed.get(new TopicPartition(topic, i)).offset(), 10L, "committed");
        }
    }
}
