// SPDX-License-Identifier: Apache-2.0
// Fills a topic with what a reader of committed records has to tell apart: transactions that were
// committed or aborted, of two producers at once, and records outside of any. Committed values are
// "c0", "c1", ... in order; all others begin with "a". At the end one transaction is open.
import java.util.Collections;
import java.util.Properties;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;

public class Transactions {
    static String brokers;
    static String topic;
    static int committed;

    static KafkaProducer<String, String> producer(String id) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", brokers);
        settings.put("key.serializer", "org.apache.kafka.common.serialization.StringSerializer");
        settings.put("value.serializer", "org.apache.kafka.common.serialization.StringSerializer");
        if (id != null) {
            settings.put("transactional.id", id);
            settings.put("transaction.timeout.ms", "900000"); // the open one stays open
        }
        KafkaProducer<String, String> producer = new KafkaProducer<>(settings);
        if (id != null)
            producer.initTransactions();
        return producer;
    }

    static void send(KafkaProducer<String, String> producer, boolean good) throws Exception {
        String value = good ? "c" + committed++ : "a";
        producer.send(new ProducerRecord<>(topic, 0, "key", value)).get();
    }

    public static void main(String[] arguments) throws Exception {
        brokers = arguments[0];
        topic = arguments[1];
        try (Admin admin = Admin.create(Collections.singletonMap("bootstrap.servers", brokers))) {
            admin.createTopics(Collections.singletonList(new NewTopic(topic, 1, (short) 1))).all().get();
        }
        KafkaProducer<String, String> first = producer("first"), second = producer("second");
        KafkaProducer<String, String> plain = producer(null);
        for (int round = 0; round < 20; round++) {
            first.beginTransaction();
            second.beginTransaction();
            for (int i = 0; i < 5; i++) {
                send(first, round % 3 != 0);
                send(second, round % 2 != 0);
                send(plain, true);
            }
            if (round % 3 != 0)
                first.commitTransaction();
            else
                first.abortTransaction();
            send(second, round % 2 != 0);
            if (round % 2 != 0)
                second.commitTransaction();
            else
                second.abortTransaction();
        }
        first.beginTransaction();
        send(first, false);
        send(plain, false); // behind the open transaction: not to be read yet
        Runtime.getRuntime().halt(0);
    }
}
