// SPDX-License-Identifier: Apache-2.0

// sarama against the broker.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"slices"
	"strings"
	"time"

	"compat/cases"

	"github.com/IBM/sarama"
)

var (
	brokers = []string{os.Args[1]}
	admin   sarama.ClusterAdmin
	check   = cases.Check
)

type change func(*sarama.Config)

func config(changes ...change) *sarama.Config {
	made := sarama.NewConfig()
	made.Version = sarama.MaxVersion
	made.Producer.Return.Successes = true
	made.Producer.RequiredAcks = sarama.WaitForAll
	made.Producer.Partitioner = sarama.NewManualPartitioner
	made.Producer.Flush.Frequency = 20 * time.Millisecond
	made.Consumer.Return.Errors = true
	made.Metadata.AllowAutoTopicCreation = false
	for _, change := range changes {
		change(made)
	}
	return made
}

func client(changes ...change) sarama.Client {
	return cases.Get(sarama.NewClient(brokers, config(changes...)))
}

func create(name string, partitions int32, settings ...string) string {
	topic := "sarama-" + name
	detail := &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: 1, ConfigEntries: map[string]*string{}}
	for i := 0; i < len(settings); i += 2 {
		detail.ConfigEntries[settings[i]] = &settings[i+1]
	}
	cases.Must(admin.CreateTopic(topic, detail, false))
	return topic
}

func send(messages []*sarama.ProducerMessage, changes ...change) {
	producer := cases.Get(sarama.NewSyncProducer(brokers, config(changes...)))
	defer producer.Close()
	cases.Must(producer.SendMessages(messages))
}

func take(from sarama.PartitionConsumer, count int) []*sarama.ConsumerMessage {
	var messages []*sarama.ConsumerMessage
	limit := time.After(20 * time.Second)
	for len(messages) < count {
		select {
		case message := <-from.Messages():
			messages = append(messages, message)
		case err := <-from.Errors():
			cases.Must(err)
		case <-limit:
			check(false, "read %d of %d messages", len(messages), count)
		}
	}
	return messages
}

func readFrom(topic string, partition int32, offset int64, count int, changes ...change) []*sarama.ConsumerMessage {
	consumer := cases.Get(sarama.NewConsumer(brokers, config(changes...)))
	defer consumer.Close()
	from := cases.Get(consumer.ConsumePartition(topic, partition, offset))
	defer from.Close()
	return take(from, count)
}

func read(topic string, count int, changes ...change) []*sarama.ConsumerMessage {
	return readFrom(topic, 0, sarama.OffsetOldest, count, changes...)
}

func text(value string) sarama.Encoder { return sarama.ByteEncoder(value) }

func one(topic string, value string) *sarama.ProducerMessage {
	return &sarama.ProducerMessage{Topic: topic, Value: text(value)}
}

func roundTrip(name string, change change) error {
	topic := create(name, 1)
	acked := config(change).Producer.RequiredAcks != sarama.NoResponse
	var messages []*sarama.ProducerMessage
	for i := range cases.Count {
		messages = append(messages, &sarama.ProducerMessage{Topic: topic, Key: text(fmt.Sprint("key", i)),
			Value: sarama.ByteEncoder(cases.Value(i))})
	}
	send(messages, change)
	for i, message := range messages {
		check(!acked || message.Offset == int64(i), "offset of %d is %d", i, message.Offset)
	}
	for i, message := range read(topic, cases.Count) {
		cases.Equal(message.Offset, int64(i), "offset")
		check(bytes.Equal(message.Value, cases.Value(i)), "the value of message %d", i)
		cases.Equal(string(message.Key), fmt.Sprint("key", i), "key")
	}
	return nil
}

func codec(codec sarama.CompressionCodec) cases.Case {
	name := "codec-" + codec.String()
	return cases.Case{Name: name, Run: func() error {
		return roundTrip(name, func(c *sarama.Config) { c.Producer.Compression = codec })
	}}
}

func acks(name string, acks sarama.RequiredAcks) cases.Case {
	return cases.Case{Name: "acks-" + name, Run: func() error {
		return roundTrip("acks-"+name, func(c *sarama.Config) { c.Producer.RequiredAcks = acks })
	}}
}

func numbered(name string, partitions int32, count int) string {
	topic := create(name, partitions)
	var messages []*sarama.ProducerMessage
	for i := range count {
		for p := range partitions {
			messages = append(messages, &sarama.ProducerMessage{Topic: topic, Partition: p,
				Value: sarama.ByteEncoder(cases.Value(i)), Timestamp: time.UnixMilli(1600000000000 + int64(i)*1000)})
		}
	}
	send(messages, func(c *sarama.Config) { c.Producer.Compression = sarama.CompressionLZ4 })
	return topic
}

func metadata() error {
	topic := create("metadata", 3)
	found, controller, err := admin.DescribeCluster()
	cases.Must(err)
	cases.Equal(len(found), 1, "brokers")
	cases.Equal(controller, found[0].ID(), "controller")
	described := cases.Get(admin.DescribeTopics([]string{topic}))
	cases.Equal(len(described[0].Partitions), 3, "partitions")
	connected := client()
	defer connected.Close()
	cases.Equal(len(cases.Get(connected.Partitions(topic))), 3, "partitions")
	return nil
}

func listed(topic string) bool {
	_, there := cases.Get(admin.ListTopics())[topic]
	return there
}

func topicCreate() error {
	retention := "1234567"
	detail := &sarama.TopicDetail{NumPartitions: -1, ReplicationFactor: -1,
		ConfigEntries: map[string]*string{"retention.ms": &retention}}
	cases.Must(admin.CreateTopic("sarama-created", detail, false))
	cases.Refused(admin.CreateTopic("sarama-created", detail, false), sarama.ErrTopicAlreadyExists)
	cases.Must(admin.CreateTopic("sarama-imagined", detail, true))
	check(!listed("sarama-imagined"), "validated, and created")
	cases.Equal(*cases.Get(admin.ListTopics())["sarama-created"].ConfigEntries["retention.ms"], retention, "retention.ms")
	return nil
}

func topicDelete() error {
	topic := create("deleted", 1)
	send([]*sarama.ProducerMessage{one(topic, "v")})
	cases.Must(admin.DeleteTopic(topic))
	check(!listed(topic), "still listed")
	cases.Refused(admin.DeleteTopic(topic), sarama.ErrUnknownTopicOrPartition)
	create("deleted", 1)
	cases.Equal(offset(topic, sarama.OffsetNewest), 0, "end")
	return nil
}

func offset(topic string, at int64) int64 {
	connected := client()
	defer connected.Close()
	return cases.Get(connected.GetOffset(topic, 0, at))
}

func partitions() error {
	topic := create("grown", 1)
	cases.Must(admin.CreatePartitions(topic, 3, nil, false))
	message := &sarama.ProducerMessage{Topic: topic, Partition: 2, Value: text("v")}
	send([]*sarama.ProducerMessage{message})
	cases.Equal(message.Partition, 2, "partition")
	err := admin.CreatePartitions(topic, 2, nil, false)
	cases.Refused(err, sarama.ErrInvalidPartitions)
	return nil
}

func setting(kind sarama.ConfigResourceType, resource, name string) sarama.ConfigEntry {
	entries := cases.Get(admin.DescribeConfig(sarama.ConfigResource{Type: kind, Name: resource}))
	for _, entry := range entries {
		if entry.Name == name {
			return entry
		}
	}
	panic("no setting " + name)
}

func configRead() error {
	topic := create("config", 1, "retention.ms", "5000000")
	cases.Equal(setting(sarama.TopicResource, topic, "retention.ms").Value, "5000000", "retention.ms")
	check(!setting(sarama.TopicResource, topic, "retention.ms").Default, "retention.ms is a default")
	found, _, err := admin.DescribeCluster()
	cases.Must(err)
	id := fmt.Sprint(found[0].ID())
	cases.Equal(setting(sarama.BrokerResource, id, "default.replication.factor").Value, "1", "factor")
	return nil
}

func configChange() error {
	topic := create("changed", 1)
	alter := func(how sarama.IncrementalAlterConfigsOperation, value string) error {
		return admin.IncrementalAlterConfig(sarama.TopicResource, topic,
			map[string]sarama.IncrementalAlterConfigsEntry{"retention.ms": {Operation: how, Value: &value}}, false)
	}
	cases.Must(alter(sarama.IncrementalAlterConfigsOperationSet, "777"))
	cases.Equal(setting(sarama.TopicResource, topic, "retention.ms").Value, "777", "retention.ms")
	cases.Must(alter(sarama.IncrementalAlterConfigsOperationDelete, ""))
	check(setting(sarama.TopicResource, topic, "retention.ms").Value != "777", "retention.ms is still there")
	check(alter(sarama.IncrementalAlterConfigsOperationSet, "long") != nil, "an impossible value was taken")
	kept := "123456"
	cases.Must(admin.AlterConfig(sarama.TopicResource, topic, map[string]*string{"retention.bytes": &kept}, false))
	cases.Equal(setting(sarama.TopicResource, topic, "retention.bytes").Value, kept, "retention.bytes")
	return nil
}

func headers() error {
	topic := create("headers", 1)
	message := one(topic, "v")
	message.Headers = []sarama.RecordHeader{{Key: []byte("a"), Value: []byte("1")}, {Key: []byte("a"), Value: []byte("2")},
		{Key: []byte("null")}, {Key: []byte("empty"), Value: []byte{}}}
	send([]*sarama.ProducerMessage{message})
	got := read(topic, 1)[0].Headers
	cases.Equal(len(got), len(message.Headers), "the number of headers")
	for i, header := range got {
		check(bytes.Equal(header.Key, message.Headers[i].Key), "the name of header %d", i)
		check(bytes.Equal(header.Value, message.Headers[i].Value), "the value of header %d", i)
	}
	return nil
}

func timestamps() error {
	topic := create("timestamps", 1)
	message := one(topic, "v")
	message.Timestamp = time.UnixMilli(1234567890123)
	send([]*sarama.ProducerMessage{message})
	cases.Equal(read(topic, 1)[0].Timestamp.UnixMilli(), 1234567890123, "timestamp")
	return nil
}

func appendTime() error {
	topic := create("append-time", 1, "message.timestamp.type", "LogAppendTime")
	before := time.Now().UnixMilli()
	message := one(topic, "v")
	message.Timestamp = time.UnixMilli(1)
	send([]*sarama.ProducerMessage{message}, func(c *sarama.Config) { c.Producer.Compression = sarama.CompressionGZIP })
	check(read(topic, 1)[0].Timestamp.UnixMilli() >= before, "the time is not that of the broker")
	return nil
}

func nulls() error {
	topic := create("null", 1)
	pairs := [][2]sarama.Encoder{{nil, text("v")}, {text("k"), nil}, {nil, nil}, {text(""), text("")}}
	var messages []*sarama.ProducerMessage
	for _, pair := range pairs {
		messages = append(messages, &sarama.ProducerMessage{Topic: topic, Key: pair[0], Value: pair[1]})
	}
	send(messages)
	for i, message := range read(topic, len(pairs)) {
		for side, got := range [][]byte{message.Key, message.Value} {
			want := pairs[i][side]
			cases.Equal(got == nil, want == nil, fmt.Sprint("null in pair ", i))
			check(want == nil || bytes.Equal(got, cases.Get(want.Encode())), "pair %d is %q", i, got)
		}
	}
	return nil
}

func large() error {
	topic := create("large", 1, "max.message.bytes", "6000000")
	value := make([]byte, 5000000)
	rand.New(rand.NewSource(1)).Read(value)
	send([]*sarama.ProducerMessage{{Topic: topic, Value: sarama.ByteEncoder(value)}},
		func(c *sarama.Config) { c.Producer.MaxMessageBytes = 6000000 })
	check(bytes.Equal(read(topic, 1)[0].Value, value), "another value")
	return nil
}

func tooLarge() error {
	topic := create("too-large", 1, "max.message.bytes", "1000")
	producer := cases.Get(sarama.NewSyncProducer(brokers, config()))
	defer producer.Close()
	_, _, err := producer.SendMessage(&sarama.ProducerMessage{Topic: topic, Value: sarama.ByteEncoder(make([]byte, 5000))})
	cases.Refused(err, sarama.ErrMessageSizeTooLarge)
	_, _, err = producer.SendMessage(one(topic, "small"))
	return err
}

func assign() error {
	topic := numbered("assign", 2, 100)
	readFrom(topic, 0, 0, 100)
	readFrom(topic, 1, 0, 100)
	cases.Equal(readFrom(topic, 1, 42, 1)[0].Offset, 42, "offset")
	return nil
}

func readCommitted() error {
	topic := numbered("read-committed", 1, 20)
	read(topic, 20, func(c *sarama.Config) { c.Consumer.IsolationLevel = sarama.ReadCommitted })
	return nil
}

func offsets() error {
	topic := numbered("offsets", 1, 100)
	cases.Equal(offset(topic, sarama.OffsetOldest), 0, "start")
	cases.Equal(offset(topic, sarama.OffsetNewest), 100, "end")
	return nil
}

func offsetsByTime() error {
	topic := numbered("by-time", 1, 100)
	for at, want := range map[int64]int64{1599999999999: 0, 1600000000000: 0, 1600000041001: 42, 1600000099000: 99,
		1700000000000: -1} {
		cases.Equal(offset(topic, at), want, fmt.Sprint("the offset of ", at))
	}
	return nil
}

func deleteRecords() error {
	topic := numbered("delete-records", 1, 100)
	cases.Must(admin.DeleteRecords(topic, map[int32]int64{0: 30}))
	cases.Equal(offset(topic, sarama.OffsetOldest), 30, "start")
	cases.Equal(read(topic, 70)[0].Offset, 30, "the first record")
	check(admin.DeleteRecords(topic, map[int32]int64{0: 500}) != nil, "deleting beyond the end succeeded")
	return nil
}

func commit() error {
	topic := numbered("commit", 2, 10)
	connected := client(func(c *sarama.Config) { c.Consumer.Offsets.AutoCommit.Enable = false })
	manager := cases.Get(sarama.NewOffsetManagerFromClient("sarama-standalone", connected))
	partition := cases.Get(manager.ManagePartition(topic, 1))
	partition.MarkOffset(7, "a note")
	manager.Commit()
	partition.AsyncClose()
	cases.Must(manager.Close())
	manager = cases.Get(sarama.NewOffsetManagerFromClient("sarama-standalone", connected))
	partition = cases.Get(manager.ManagePartition(topic, 1))
	next, note := partition.NextOffset()
	cases.Equal(next, 7, "committed")
	cases.Equal(note, "a note", "note")
	listed := cases.Get(admin.ListConsumerGroupOffsets("sarama-standalone", map[string][]int32{topic: {0, 1}}))
	cases.Equal(listed.GetBlock(topic, 1).Offset, 7, "listed")
	cases.Equal(listed.GetBlock(topic, 0).Offset, -1, "listed and never committed")
	return nil
}

func unknownTopic() error {
	connected := client()
	defer connected.Close()
	_, err := connected.Partitions("sarama-nowhere")
	cases.Refused(err, sarama.ErrUnknownTopicOrPartition)
	check(!listed("sarama-nowhere"), "created")
	_, err = connected.GetOffset(create("one-partition", 1), 9, sarama.OffsetNewest)
	cases.Refused(err, sarama.ErrUnknownTopicOrPartition)
	return nil
}

func autoCreate() error {
	send([]*sarama.ProducerMessage{one("sarama-by-itself", "v")},
		func(c *sarama.Config) { c.Metadata.AllowAutoTopicCreation = true })
	cases.Equal(string(read("sarama-by-itself", 1)[0].Value), "v", "value")
	return nil
}

func badTopic() error {
	for _, name := range []string{"with space", "..", strings.Repeat("x", 250), "a/b"} {
		err := admin.CreateTopic(name, &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 1}, false)
		cases.Refused(err, sarama.ErrInvalidTopic)
	}
	err := admin.CreateTopic("sarama-copies", &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 3}, false)
	cases.Refused(err, sarama.ErrInvalidReplicationFactor)
	return nil
}

func outOfRange() error {
	consumer := cases.Get(sarama.NewConsumer(brokers, config()))
	defer consumer.Close()
	_, err := consumer.ConsumePartition(create("out-of-range", 1), 0, 500)
	cases.Refused(err, sarama.ErrOffsetOutOfRange)
	return nil
}

// Produces while the broker is killed; which message was acknowledged at which place.
func produceInterrupted(topic string, c *sarama.Config, kills ...int) map[string]int {
	producer := cases.Get(sarama.NewAsyncProducer(brokers, c))
	acknowledged := map[string]int{}
	done := make(chan error, 1)
	started := make(chan bool, cases.RestartCount)
	go func() {
		for range cases.RestartCount {
			select {
			case message := <-producer.Successes():
				acknowledged[fmt.Sprint(message.Partition, "/", message.Offset)] = message.Metadata.(int)
				started <- true
			case err := <-producer.Errors():
				done <- err
				return
			}
		}
		done <- nil
	}()
	for i := range cases.RestartCount {
		producer.Input() <- &sarama.ProducerMessage{Topic: topic, Partition: int32(i % 2), Metadata: i,
			Value: sarama.ByteEncoder(cases.Value(i))}
		if slices.Contains(kills, i) {
			<-started
			cases.RestartNow()
		}
		if i%10 == 0 {
			time.Sleep(2 * time.Millisecond)
		}
	}
	cases.Must(<-done)
	producer.AsyncClose()
	cases.Equal(len(acknowledged), cases.RestartCount, "different offsets acknowledged")
	return acknowledged
}

// Everything in both partitions.
func readBoth(topic string) []*sarama.ConsumerMessage {
	connected := client()
	defer connected.Close()
	found := []*sarama.ConsumerMessage{}
	for p := range int32(2) {
		count := cases.Get(connected.GetOffset(topic, p, sarama.OffsetNewest))
		found = append(found, readFrom(topic, p, 0, int(count))...)
	}
	return found
}

func patient(c *sarama.Config) {
	c.Producer.Return.Errors = true
	c.Producer.Retry.Max = 100
	c.Metadata.Retry.Max = 100
}

func restart() error {
	topic := create("restart", 2)
	acknowledged := produceInterrupted(topic, config(patient), cases.RestartCount/4)
	for _, message := range readBoth(topic) {
		where := fmt.Sprint(message.Partition, "/", message.Offset)
		if i, there := acknowledged[where]; there {
			check(bytes.Equal(message.Value, cases.Value(i)), "another record at %s", where)
			delete(acknowledged, where)
		}
	}
	cases.Equal(len(acknowledged), 0, "acknowledged and not there")
	return nil
}

func once() error {
	topic := create("once", 2)
	count := cases.RestartCount
	acknowledged := produceInterrupted(topic, config(patient, idempotently), count/4, count/2, count*3/4)
	found := readBoth(topic)
	cases.Equal(len(found), count, "records in the topic")
	for _, message := range found {
		i := int(message.Offset)*2 + int(message.Partition)
		check(bytes.Equal(message.Value, cases.Value(i)), "not record %d", i)
		where := fmt.Sprint(message.Partition, "/", message.Offset)
		cases.Equal(acknowledged[where], i, "what was acknowledged there")
	}
	return nil
}

func idempotently(c *sarama.Config) {
	c.Producer.Idempotent = true
	c.Net.MaxOpenRequests = 1
}

func idempotent() error {
	send([]*sarama.ProducerMessage{one(create("idempotent", 1), "v")}, idempotently)
	return nil
}

func transaction() error {
	topic := create("transaction", 1)
	producer, err := sarama.NewSyncProducer(brokers, config(idempotently, func(c *sarama.Config) {
		c.Producer.Transaction.ID = "sarama-transaction"
	}))
	cases.Must(err)
	defer producer.Close()
	cases.Must(producer.BeginTxn())
	_, _, err = producer.SendMessage(one(topic, "aborted"))
	cases.Must(err)
	cases.Must(producer.AbortTxn())
	cases.Must(producer.BeginTxn())
	_, _, err = producer.SendMessage(one(topic, "committed"))
	cases.Must(err)
	cases.Must(producer.CommitTxn())
	got := read(topic, 1, func(c *sarama.Config) { c.Consumer.IsolationLevel = sarama.ReadCommitted })
	cases.Equal(string(got[0].Value), "committed", "value")
	return nil
}

type member struct{ got chan *sarama.ConsumerMessage }

func (m member) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (m member) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (m member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for message := range claim.Messages() {
		session.MarkMessage(message, "")
		m.got <- message
	}
	return nil
}

func group() error {
	topic := numbered("group", 2, 10)
	joined := cases.Get(sarama.NewConsumerGroup(brokers, "sarama-group", config(func(c *sarama.Config) {
		c.Consumer.Offsets.Initial = sarama.OffsetOldest
	})))
	defer joined.Close()
	limited, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	m := member{make(chan *sarama.ConsumerMessage, 100)}
	failed := make(chan error, 1)
	go func() { failed <- joined.Consume(limited, []string{topic}, m) }()
	for range 20 {
		select {
		case <-m.got:
		case err := <-failed:
			return errors.Join(errors.New("no messages"), err)
		}
	}
	return nil
}

func main() {
	admin = cases.Get(sarama.NewClusterAdmin(brokers, config()))
	cases.Main([]cases.Case{{Name: "metadata", Run: metadata}, {Name: "topic-create", Run: topicCreate},
		{Name: "topic-delete", Run: topicDelete}, {Name: "partitions", Run: partitions},
		{Name: "config-read", Run: configRead}, {Name: "config-change", Run: configChange},
		codec(sarama.CompressionNone), codec(sarama.CompressionGZIP), codec(sarama.CompressionSnappy),
		codec(sarama.CompressionLZ4), codec(sarama.CompressionZSTD),
		acks("0", sarama.NoResponse), acks("1", sarama.WaitForLocal), acks("all", sarama.WaitForAll),
		{Name: "headers", Run: headers}, {Name: "timestamps", Run: timestamps}, {Name: "append-time", Run: appendTime},
		{Name: "null", Run: nulls}, {Name: "large", Run: large}, {Name: "too-large", Run: tooLarge},
		{Name: "assign", Run: assign}, {Name: "read-committed", Run: readCommitted}, {Name: "offsets", Run: offsets},
		{Name: "offsets-by-time", Run: offsetsByTime}, {Name: "delete-records", Run: deleteRecords},
		{Name: "commit", Run: commit}, {Name: "unknown-topic", Run: unknownTopic}, {Name: "auto-create", Run: autoCreate},
		{Name: "bad-topic", Run: badTopic}, {Name: "out-of-range", Run: outOfRange}, {Name: "restart", Run: restart},
		{Name: "once", Run: once},
		{Name: "idempotent", Run: idempotent}, {Name: "transaction", Run: transaction}, {Name: "group", Run: group},
		{Name: "group-next", Run: func() error { return cases.ErrAbsent }}})
}
