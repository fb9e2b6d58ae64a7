// SPDX-License-Identifier: Apache-2.0

// segmentio/kafka-go against the broker.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"strings"
	"sync"
	"time"

	"compat/cases"

	"github.com/segmentio/kafka-go"
)

var (
	bootstrap = os.Args[1]
	client    = &kafka.Client{Addr: kafka.TCP(bootstrap), Timeout: 20 * time.Second}
	ctx       = context.Background()
	check     = cases.Check
)

// place is where a message is to go; the client leaves that to the balancer.
type place struct{ partition, number int }

func byPlace(message kafka.Message, partitions ...int) int {
	if where, given := message.WriterData.(place); given {
		return where.partition
	}
	return partitions[0]
}

func make1(topic string, partitions, factor int, validateOnly bool, settings ...string) error {
	config := kafka.TopicConfig{Topic: topic, NumPartitions: partitions, ReplicationFactor: factor}
	for i := 0; i < len(settings); i += 2 {
		config.ConfigEntries = append(config.ConfigEntries,
			kafka.ConfigEntry{ConfigName: settings[i], ConfigValue: settings[i+1]})
	}
	request := &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{config}, ValidateOnly: validateOnly}
	return cases.Get(client.CreateTopics(ctx, request)).Errors[topic]
}

func create(name string, partitions int, settings ...string) string {
	cases.Must(make1("go-"+name, partitions, 1, false, settings...))
	return "go-" + name
}

func writer(topic string, changes ...func(*kafka.Writer)) *kafka.Writer {
	made := &kafka.Writer{Addr: kafka.TCP(bootstrap), Topic: topic, Balancer: kafka.BalancerFunc(byPlace),
		BatchTimeout: 20 * time.Millisecond, BatchSize: 1000, Transport: &kafka.Transport{}, RequiredAcks: kafka.RequireAll, MaxAttempts: 3}
	for _, change := range changes {
		change(made)
	}
	return made
}

func send(topic string, messages []kafka.Message, changes ...func(*kafka.Writer)) error {
	to := writer(topic, changes...)
	defer to.Close()
	return to.WriteMessages(ctx, messages...)
}

func reader(topic string, partition int, offset int64, changes ...func(*kafka.ReaderConfig)) *kafka.Reader {
	config := kafka.ReaderConfig{Brokers: []string{bootstrap}, Topic: topic, Partition: partition,
		MaxBytes: 10000000, MaxWait: 500 * time.Millisecond}
	for _, change := range changes {
		change(&config)
	}
	made := kafka.NewReader(config)
	if config.GroupID == "" {
		cases.Must(made.SetOffset(offset))
	}
	return made
}

func take(from *kafka.Reader, count int) []kafka.Message {
	limited, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var messages []kafka.Message
	for len(messages) < count {
		messages = append(messages, cases.Get(from.ReadMessage(limited)))
	}
	return messages
}

func read(topic string, partition int, offset int64, count int, changes ...func(*kafka.ReaderConfig)) []kafka.Message {
	from := reader(topic, partition, offset, changes...)
	defer from.Close()
	return take(from, count)
}

func roundTrip(name string, change func(*kafka.Writer)) error {
	topic := create(name, 1)
	var messages []kafka.Message
	for i := range cases.Count {
		messages = append(messages, kafka.Message{Key: fmt.Append(nil, "key", i), Value: cases.Value(i)})
	}
	cases.Must(send(topic, messages, change))
	for i, message := range read(topic, 0, 0, cases.Count) {
		cases.Equal(message.Offset, int64(i), "offset")
		check(bytes.Equal(message.Value, cases.Value(i)), "the value of message %d", i)
		cases.Equal(string(message.Key), fmt.Sprint("key", i), "key")
	}
	return nil
}

func codec(name string, codec kafka.Compression) cases.Case {
	return cases.Case{Name: "codec-" + name, Run: func() error {
		return roundTrip("codec-"+name, func(w *kafka.Writer) { w.Compression = codec })
	}}
}

func acks(name string, acks kafka.RequiredAcks) cases.Case {
	return cases.Case{Name: "acks-" + name, Run: func() error {
		return roundTrip("acks-"+name, func(w *kafka.Writer) { w.RequiredAcks = acks })
	}}
}

func numbered(name string, partitions, count int) string {
	topic := create(name, partitions)
	var messages []kafka.Message
	for i := range count {
		for p := range partitions {
			messages = append(messages, kafka.Message{Value: cases.Value(i), WriterData: place{p, i},
				Time: time.UnixMilli(1600000000000 + int64(i)*1000)})
		}
	}
	cases.Must(send(topic, messages, func(w *kafka.Writer) { w.Compression = kafka.Lz4 }))
	return topic
}

// A transport answers from its own copy of the metadata, which is seconds old: this takes a new one.
func topics(names ...string) *kafka.MetadataResponse {
	transport := &kafka.Transport{}
	defer transport.CloseIdleConnections()
	fresh := &kafka.Client{Addr: kafka.TCP(bootstrap), Timeout: 20 * time.Second, Transport: transport}
	return cases.Get(fresh.Metadata(ctx, &kafka.MetadataRequest{Topics: names}))
}

func listed(name string) bool {
	for _, topic := range topics().Topics {
		if topic.Name == name {
			return true
		}
	}
	return false
}

func metadata() error {
	found := topics(create("metadata", 3))
	check(found.ClusterID != "", "no cluster id")
	cases.Equal(len(found.Brokers), 1, "brokers")
	cases.Equal(found.Controller.ID, found.Brokers[0].ID, "controller")
	cases.Equal(len(found.Topics[0].Partitions), 3, "partitions")
	return nil
}

func topicCreate() error {
	cases.Must(make1("go-created", -1, -1, false, "retention.ms", "1234567"))
	cases.Refused(make1("go-created", 1, 1, false), kafka.TopicAlreadyExists)
	cases.Must(make1("go-imagined", 1, 1, true))
	check(listed("go-created") && !listed("go-imagined"), "listed wrongly")
	return nil
}

func topicDelete() error {
	topic := create("deleted", 1)
	cases.Must(send(topic, []kafka.Message{{Value: []byte("v")}}))
	remove := func() error {
		return cases.Get(client.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{topic}})).Errors[topic]
	}
	cases.Must(remove())
	check(!listed(topic), "still listed")
	cases.Refused(remove(), kafka.UnknownTopicOrPartition)
	create("deleted", 1)
	cases.Equal(listOffset(topic, kafka.LastOffsetOf(0)).LastOffset, 0, "end")
	return nil
}

func partitions() error {
	topic := create("grown", 1)
	grow := func(count int32) error {
		request := &kafka.CreatePartitionsRequest{Topics: []kafka.TopicPartitionsConfig{{Name: topic, Count: count}}}
		return cases.Get(client.CreatePartitions(ctx, request)).Errors[topic]
	}
	cases.Must(grow(3))
	cases.Must(send(topic, []kafka.Message{{Value: []byte("v"), WriterData: place{2, 0}}}))
	cases.Equal(len(read(topic, 2, 0, 1)), 1, "messages in the new partition")
	cases.Refused(grow(2), kafka.InvalidPartitionNumber)
	return nil
}

func setting(kind kafka.ResourceType, resource, name string) string {
	request := &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{
		{ResourceType: kind, ResourceName: resource}}}
	found := cases.Get(client.DescribeConfigs(ctx, request)).Resources[0]
	cases.Must(found.Error)
	for _, entry := range found.ConfigEntries {
		if entry.ConfigName == name {
			return entry.ConfigValue
		}
	}
	panic("no setting " + name)
}

func configRead() error {
	topic := create("config", 1, "retention.ms", "5000000")
	cases.Equal(setting(kafka.ResourceTypeTopic, topic, "retention.ms"), "5000000", "retention.ms")
	id := fmt.Sprint(topics().Brokers[0].ID)
	cases.Equal(setting(kafka.ResourceTypeBroker, id, "default.replication.factor"), "1", "factor")
	return nil
}

func configChange() error {
	topic := create("changed", 1)
	alter := func(value string) error {
		request := &kafka.IncrementalAlterConfigsRequest{Resources: []kafka.IncrementalAlterConfigsRequestResource{{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: topic,
			Configs: []kafka.IncrementalAlterConfigsRequestConfig{
				{Name: "retention.ms", Value: value, ConfigOperation: kafka.ConfigOperationSet}}}}}
		return cases.Get(client.IncrementalAlterConfigs(ctx, request)).Resources[0].Error
	}
	cases.Must(alter("777"))
	cases.Equal(setting(kafka.ResourceTypeTopic, topic, "retention.ms"), "777", "retention.ms")
	check(alter("long") != nil, "an impossible value was taken")
	return nil
}

func headers() error {
	topic := create("headers", 1)
	sent := []kafka.Header{{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")}, {Key: "empty"}}
	cases.Must(send(topic, []kafka.Message{{Value: []byte("v"), Headers: sent}}))
	got := read(topic, 0, 0, 1)[0].Headers
	cases.Equal(len(got), len(sent), "the number of headers")
	for i, header := range got {
		cases.Equal(header.Key, sent[i].Key, "name")
		check(bytes.Equal(header.Value, sent[i].Value), "the value of header %d", i)
	}
	return nil
}

func timestamps() error {
	topic := create("timestamps", 1)
	cases.Must(send(topic, []kafka.Message{{Value: []byte("v"), Time: time.UnixMilli(1234567890123)}}))
	cases.Equal(read(topic, 0, 0, 1)[0].Time.UnixMilli(), 1234567890123, "timestamp")
	return nil
}

func nulls() error {
	topic := create("null", 1)
	pairs := [][2][]byte{{nil, []byte("v")}, {[]byte("k"), nil}, {nil, nil}}
	var messages []kafka.Message
	for _, pair := range pairs {
		messages = append(messages, kafka.Message{Key: pair[0], Value: pair[1]})
	}
	cases.Must(send(topic, messages))
	for i, message := range read(topic, 0, 0, len(pairs)) {
		for side, got := range [][]byte{message.Key, message.Value} {
			cases.Equal(got == nil, pairs[i][side] == nil, fmt.Sprint("null in pair ", i))
			check(bytes.Equal(got, pairs[i][side]), "pair %d is %q", i, got)
		}
	}
	return nil
}

func large() error {
	topic := create("large", 1, "max.message.bytes", "6000000")
	value := make([]byte, 5000000)
	rand.New(rand.NewSource(1)).Read(value)
	cases.Must(send(topic, []kafka.Message{{Value: value}}, func(w *kafka.Writer) { w.BatchBytes = 6000000 }))
	check(bytes.Equal(read(topic, 0, 0, 1)[0].Value, value), "another value")
	return nil
}

func tooLarge() error {
	topic := create("too-large", 1, "max.message.bytes", "1000")
	err := send(topic, []kafka.Message{{Value: make([]byte, 5000)}})
	var each kafka.WriteErrors
	if errors.As(err, &each) {
		err = each[0]
	}
	cases.Refused(err, kafka.MessageSizeTooLarge)
	return send(topic, []kafka.Message{{Value: make([]byte, 50)}})
}

func assign() error {
	topic := numbered("assign", 2, 100)
	read(topic, 0, 0, 100)
	from := reader(topic, 1, kafka.FirstOffset)
	defer from.Close()
	take(from, 100)
	cases.Must(from.SetOffset(42))
	cases.Equal(take(from, 1)[0].Offset, 42, "offset after seek")
	return nil
}

func readCommitted() error {
	topic := numbered("read-committed", 1, 20)
	read(topic, 0, 0, 20, func(c *kafka.ReaderConfig) { c.IsolationLevel = kafka.ReadCommitted })
	return nil
}

func listOffset(topic string, what kafka.OffsetRequest) kafka.PartitionOffsets {
	request := &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: {what}}}
	found := cases.Get(client.ListOffsets(ctx, request)).Topics[topic][0]
	cases.Must(found.Error)
	return found
}

func offsets() error {
	topic := numbered("offsets", 1, 100)
	cases.Equal(listOffset(topic, kafka.FirstOffsetOf(0)).FirstOffset, 0, "start")
	cases.Equal(listOffset(topic, kafka.LastOffsetOf(0)).LastOffset, 100, "end")
	return nil
}

func offsetsByTime() error {
	topic := numbered("by-time", 1, 100)
	for at, want := range map[int64]int64{1600000000000: 0, 1600000041001: 42, 1600000099000: 99} {
		found := listOffset(topic, kafka.TimeOffsetOf(0, time.UnixMilli(at))).Offsets
		_, there := found[want]
		check(there, "the offset of %d is %v", at, found)
	}
	from := reader(topic, 0, 0)
	defer from.Close()
	cases.Must(from.SetOffsetAt(ctx, time.UnixMilli(1600000041001)))
	cases.Equal(take(from, 1)[0].Offset, 42, "the first offset read")
	return nil
}

func commit() error {
	topic := numbered("commit", 2, 10)
	request := &kafka.OffsetCommitRequest{GroupID: "go-standalone", GenerationID: -1,
		Topics: map[string][]kafka.OffsetCommit{topic: {{Partition: 1, Offset: 7, Metadata: "a note"}}}}
	cases.Must(cases.Get(client.OffsetCommit(ctx, request)).Topics[topic][0].Error)
	fetch := &kafka.OffsetFetchRequest{GroupID: "go-standalone", Topics: map[string][]int{topic: {0, 1}}}
	for _, found := range cases.Get(client.OffsetFetch(ctx, fetch)).Topics[topic] {
		cases.Must(found.Error)
		cases.Equal(found.CommittedOffset, map[int]int64{0: -1, 1: 7}[found.Partition], "committed")
		cases.Equal(found.Metadata, map[int]string{0: "", 1: "a note"}[found.Partition], "note")
	}
	return nil
}

func unknownTopic() error {
	found := topics("go-nowhere")
	cases.Refused(found.Topics[0].Error, kafka.UnknownTopicOrPartition)
	check(!listed("go-nowhere"), "created")
	err := send("go-nowhere", []kafka.Message{{Value: []byte("v")}}, func(w *kafka.Writer) { w.MaxAttempts = 1 })
	cases.Refused(err, kafka.UnknownTopicOrPartition)
	return nil
}

func autoCreate() error {
	cases.Must(send("go-by-itself", []kafka.Message{{Value: []byte("v")}},
		func(w *kafka.Writer) { w.AllowAutoTopicCreation = true }))
	cases.Equal(string(read("go-by-itself", 0, 0, 1)[0].Value), "v", "value")
	return nil
}

func badTopic() error {
	for _, name := range []string{"with space", "..", strings.Repeat("x", 250), "a/b"} {
		cases.Refused(make1(name, 1, 1, false), kafka.InvalidTopic)
	}
	cases.Refused(make1("go-copies", 1, 3, false), kafka.InvalidReplicationFactor)
	cases.Refused(make1("go-odd", 1, 1, false, "retention.ms", "long"), kafka.InvalidConfiguration)
	return nil
}

func outOfRange() error {
	from := reader(create("out-of-range", 1), 0, 500,
		func(c *kafka.ReaderConfig) { c.OffsetOutOfRangeError = true })
	defer from.Close()
	limited, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	_, err := from.ReadMessage(limited)
	cases.Refused(err, kafka.OffsetOutOfRange)
	return nil
}

func restart() error {
	topic := create("restart", 2)
	var lock sync.Mutex
	acknowledged := map[string]int{}
	var failed error
	to := writer(topic, func(w *kafka.Writer) {
		w.Async = true
		w.MaxAttempts = 100
		w.Completion = func(messages []kafka.Message, err error) {
			lock.Lock()
			defer lock.Unlock()
			failed = errors.Join(failed, err)
			for _, message := range messages {
				where := fmt.Sprint(message.Partition, "/", message.Offset)
				acknowledged[where] = message.WriterData.(place).number
			}
		}
	})
	acked := func() int {
		lock.Lock()
		defer lock.Unlock()
		return len(acknowledged)
	}
	for i := range cases.RestartCount {
		cases.Must(to.WriteMessages(ctx, kafka.Message{Value: cases.Value(i), WriterData: place{i % 2, i}}))
		if i == cases.RestartCount/4 {
			for acked() == 0 {
				time.Sleep(time.Millisecond)
			}
			cases.RestartNow()
		}
		if i%10 == 0 {
			time.Sleep(2 * time.Millisecond)
		}
	}
	cases.Must(to.Close())
	cases.Must(failed)
	cases.Equal(len(acknowledged), cases.RestartCount, "different offsets acknowledged")
	// The old one keeps a connection to the broker that was killed and fails once on it.
	client = &kafka.Client{Addr: kafka.TCP(bootstrap), Timeout: 20 * time.Second, Transport: &kafka.Transport{}}
	for p := range 2 {
		count := listOffset(topic, kafka.LastOffsetOf(p)).LastOffset
		for _, message := range read(topic, p, 0, int(count)) {
			where := fmt.Sprint(p, "/", message.Offset)
			if i, there := acknowledged[where]; there {
				check(bytes.Equal(message.Value, cases.Value(i)), "another message at %s", where)
				delete(acknowledged, where)
			}
		}
	}
	cases.Equal(len(acknowledged), 0, "acknowledged and not there")
	return nil
}

func group() error {
	topic := numbered("group", 2, 10)
	member := reader(topic, 0, 0, func(c *kafka.ReaderConfig) {
		c.GroupID = "go-group"
		c.StartOffset = kafka.FirstOffset
		c.MaxAttempts = 1
	})
	take(member, 20)
	return member.Close()
}

func absent() error { return cases.ErrAbsent }

func appendTime() error {
	topic := create("append-time", 1, "message.timestamp.type", "LogAppendTime")
	before := time.Now().UnixMilli()
	cases.Must(send(topic, []kafka.Message{{Value: []byte("v"), Time: time.UnixMilli(1)}},
		func(w *kafka.Writer) { w.Compression = kafka.Gzip }))
	request := &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: {kafka.TimeOffsetOf(0, time.UnixMilli(before))}}}
	found := cases.Get(client.ListOffsets(ctx, request)).Topics[topic][0]
	_, there := found.Offsets[0]
	check(there, "the broker's time does not count: %v", found.Offsets)
	return nil
}

func main() {
	cases.Main([]cases.Case{{Name: "metadata", Run: metadata}, {Name: "topic-create", Run: topicCreate},
		{Name: "topic-delete", Run: topicDelete}, {Name: "partitions", Run: partitions},
		{Name: "config-read", Run: configRead}, {Name: "config-change", Run: configChange},
		codec("none", 0), codec("gzip", kafka.Gzip), codec("snappy", kafka.Snappy),
		codec("lz4", kafka.Lz4), codec("zstd", kafka.Zstd),
		acks("0", kafka.RequireNone), acks("1", kafka.RequireOne), acks("all", kafka.RequireAll),
		{Name: "headers", Run: headers}, {Name: "timestamps", Run: timestamps}, {Name: "append-time", Run: appendTime},
		{Name: "null", Run: nulls}, {Name: "large", Run: large}, {Name: "too-large", Run: tooLarge},
		{Name: "assign", Run: assign}, {Name: "read-committed", Run: readCommitted}, {Name: "offsets", Run: offsets},
		{Name: "offsets-by-time", Run: offsetsByTime}, {Name: "delete-records", Run: absent},
		{Name: "commit", Run: commit}, {Name: "unknown-topic", Run: unknownTopic}, {Name: "auto-create", Run: autoCreate},
		{Name: "bad-topic", Run: badTopic}, {Name: "out-of-range", Run: outOfRange}, {Name: "restart", Run: restart}, {Name: "once", Run: absent},
		{Name: "idempotent", Run: absent}, {Name: "transaction", Run: absent}, {Name: "group", Run: group},
		{Name: "group-next", Run: absent}})
}
