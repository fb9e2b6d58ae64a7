// SPDX-License-Identifier: Apache-2.0

// franz-go (kgo and kadm) against the broker.
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

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

var (
	bootstrap = os.Args[1]
	admin     *kadm.Client
	check     = cases.Check
)

func client(options ...kgo.Opt) *kgo.Client {
	base := []kgo.Opt{kgo.SeedBrokers(bootstrap), kgo.RecordPartitioner(kgo.ManualPartitioner())}
	return cases.Get(kgo.NewClient(append(base, options...)...))
}

func within(d time.Duration) context.Context {
	limited, cancel := context.WithTimeout(context.Background(), d)
	time.AfterFunc(d, cancel)
	return limited
}

func soon() context.Context { return within(20 * time.Second) }

func create(name string, partitions int32, settings ...string) string {
	topic := "franz-" + name
	configs := map[string]*string{}
	for i := 0; i < len(settings); i += 2 {
		configs[settings[i]] = kadm.StringPtr(settings[i+1])
	}
	cases.Get(admin.CreateTopic(soon(), partitions, 1, configs, topic))
	return topic
}

func send(records []*kgo.Record, options ...kgo.Opt) []*kgo.Record {
	producer := client(append([]kgo.Opt{kgo.ProducerLinger(20 * time.Millisecond)}, options...)...)
	defer producer.Close()
	results := producer.ProduceSync(soon(), records...)
	cases.Must(results.FirstErr())
	return records
}

func poll(consumer *kgo.Client, count int) []*kgo.Record {
	var records []*kgo.Record
	limit := soon()
	for len(records) < count {
		fetches := consumer.PollFetches(limit)
		cases.Must(fetches.Err())
		records = append(records, fetches.Records()...)
	}
	return records
}

func consumer(topic string, partitions int, offset int64, options ...kgo.Opt) *kgo.Client {
	assigned := map[int32]kgo.Offset{}
	for p := range partitions {
		assigned[int32(p)] = kgo.NewOffset().At(offset)
	}
	assignment := kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: assigned})
	return client(append([]kgo.Opt{assignment, kgo.ConsumeResetOffset(kgo.NoResetOffset())}, options...)...)
}

func read(topic string, count int, options ...kgo.Opt) []*kgo.Record {
	from := consumer(topic, 1, 0, options...)
	defer from.Close()
	return poll(from, count)
}

func roundTrip(name string, acked bool, options ...kgo.Opt) error {
	topic := create(name, 1)
	var records []*kgo.Record
	for i := range cases.Count {
		records = append(records, &kgo.Record{Topic: topic, Key: fmt.Appendf(nil, "key%d", i), Value: cases.Value(i)})
	}
	for i, record := range send(records, options...) {
		check(!acked || record.Offset == int64(i), "offset of %d is %d", i, record.Offset)
	}
	for i, record := range read(topic, cases.Count) {
		cases.Equal(record.Offset, int64(i), "offset")
		check(bytes.Equal(record.Value, cases.Value(i)), "the value of record %d", i)
		check(string(record.Key) == fmt.Sprintf("key%d", i), "the key of record %d", i)
	}
	return nil
}

func codec(name string, codec kgo.CompressionCodec) cases.Case {
	return cases.Case{Name: "codec-" + name, Run: func() error {
		return roundTrip("codec-"+name, true, kgo.ProducerBatchCompression(codec))
	}}
}

func acks(name string, acks kgo.Acks) cases.Case {
	return cases.Case{Name: "acks-" + name, Run: func() error {
		options := []kgo.Opt{kgo.RequiredAcks(acks)}
		if name != "all" {
			options = append(options, kgo.DisableIdempotentWrite())
		}
		return roundTrip("acks-"+name, name != "0", options...)
	}}
}

func numbered(name string, partitions int32, count int) string {
	topic := create(name, partitions)
	var records []*kgo.Record
	for i := range count {
		for p := range partitions {
			records = append(records, &kgo.Record{Topic: topic, Partition: p, Value: cases.Value(i),
				Timestamp: time.UnixMilli(1600000000000 + int64(i)*1000)})
		}
	}
	send(records, kgo.ProducerBatchCompression(kgo.Lz4Compression()))
	return topic
}

func metadata() error {
	topic := create("metadata", 3)
	found := cases.Get(admin.Metadata(soon()))
	check(found.Cluster != "", "no cluster id")
	cases.Equal(len(found.Brokers), 1, "brokers")
	cases.Equal(len(found.Topics[topic].Partitions), 3, "partitions")
	check(found.Topics[topic].ID != kadm.TopicID{}, "no topic id")
	return nil
}

func listed(topic string) bool {
	return cases.Get(admin.ListTopics(soon())).Has(topic)
}

func topicCreate() error {
	retention := kadm.StringPtr("1234567")
	made := cases.Get(admin.CreateTopic(soon(), -1, -1, map[string]*string{"retention.ms": retention}, "franz-created"))
	check(made.ID != kadm.TopicID{}, "no topic id")
	cases.Equal(*made.Configs["retention.ms"].Value, "1234567", "retention.ms")
	_, err := admin.CreateTopic(soon(), 1, 1, nil, "franz-created")
	cases.Refused(err, kerr.TopicAlreadyExists)
	cases.Must(cases.Get(admin.ValidateCreateTopics(soon(), 1, 1, nil, "franz-imagined")).Error())
	check(!listed("franz-imagined"), "validated, and created")
	return nil
}

func topicDelete() error {
	topic := create("deleted", 1)
	send([]*kgo.Record{{Topic: topic, Value: []byte("v")}})
	cases.Get(admin.DeleteTopic(soon(), topic))
	check(!listed(topic), "still listed")
	_, err := admin.DeleteTopic(soon(), topic)
	cases.Refused(err, kerr.UnknownTopicOrPartition)
	create("deleted", 1)
	end, _ := cases.Get(admin.ListEndOffsets(soon(), topic)).Lookup(topic, 0)
	cases.Equal(end.Offset, 0, "end")
	return nil
}

func partitions() error {
	topic := create("grown", 1)
	cases.Must(cases.Get(admin.CreatePartitions(soon(), 2, topic)).Error())
	cases.Equal(send([]*kgo.Record{{Topic: topic, Partition: 2, Value: []byte("v")}})[0].Partition, 2, "partition")
	cases.Refused(cases.Get(admin.UpdatePartitions(soon(), 2, topic)).Error(), kerr.InvalidPartitions)
	return nil
}

func setting(configs kadm.ResourceConfigs, err error, name string) kadm.Config {
	cases.Must(err)
	cases.Must(configs[0].Err)
	for _, config := range configs[0].Configs {
		if config.Key == name {
			return config
		}
	}
	panic("no setting " + name)
}

func configRead() error {
	topic := create("config", 1, "retention.ms", "5000000")
	configs, err := admin.DescribeTopicConfigs(soon(), topic)
	cases.Equal(*setting(configs, err, "retention.ms").Value, "5000000", "retention.ms")
	cases.Equal(*setting(configs, err, "cleanup.policy").Value, "delete", "cleanup.policy")
	id := cases.Get(admin.ListBrokers(soon()))[0].NodeID
	configs, err = admin.DescribeBrokerConfigs(soon(), id)
	cases.Equal(*setting(configs, err, "default.replication.factor").Value, "1", "factor")
	return nil
}

func alter(topic string, how kadm.IncrementalOp, name string, value *string) error {
	result := cases.Get(admin.AlterTopicConfigs(soon(), []kadm.AlterConfig{{Op: how, Name: name, Value: value}}, topic))
	return result[0].Err
}

func configChange() error {
	topic := create("changed", 1)
	cases.Must(alter(topic, kadm.SetConfig, "retention.ms", kadm.StringPtr("777")))
	configs, err := admin.DescribeTopicConfigs(soon(), topic)
	cases.Equal(*setting(configs, err, "retention.ms").Value, "777", "retention.ms")
	cases.Must(alter(topic, kadm.DeleteConfig, "retention.ms", nil))
	configs, err = admin.DescribeTopicConfigs(soon(), topic)
	check(*setting(configs, err, "retention.ms").Value != "777", "retention.ms is still there")
	cases.Must(alter(topic, kadm.AppendConfig, "cleanup.policy", kadm.StringPtr("compact")))
	configs, err = admin.DescribeTopicConfigs(soon(), topic)
	cases.Equal(*setting(configs, err, "cleanup.policy").Value, "delete,compact", "cleanup.policy")
	cases.Refused(alter(topic, kadm.SetConfig, "retention.ms", kadm.StringPtr("long")), kerr.InvalidConfig)
	state := []kadm.AlterConfig{{Name: "retention.bytes", Value: kadm.StringPtr("123456")}}
	cases.Must(cases.Get(admin.AlterTopicConfigsState(soon(), state, topic))[0].Err)
	configs, err = admin.DescribeTopicConfigs(soon(), topic)
	cases.Equal(*setting(configs, err, "retention.bytes").Value, "123456", "retention.bytes")
	cases.Equal(*setting(configs, err, "cleanup.policy").Value, "delete", "cleanup.policy")
	return nil
}

func headers() error {
	topic := create("headers", 1)
	sent := []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")},
		{Key: "null"}, {Key: "empty", Value: []byte{}}}
	send([]*kgo.Record{{Topic: topic, Value: []byte("v"), Headers: sent}})
	got := read(topic, 1)[0].Headers
	cases.Equal(len(got), len(sent), "the number of headers")
	for i, header := range got {
		cases.Equal(header.Key, sent[i].Key, "name")
		check(bytes.Equal(header.Value, sent[i].Value), "the value of header %d", i)
		cases.Equal(header.Value == nil, sent[i].Value == nil, "null")
	}
	return nil
}

func timestamps() error {
	topic := create("timestamps", 1)
	send([]*kgo.Record{{Topic: topic, Value: []byte("v"), Timestamp: time.UnixMilli(1234567890123)}})
	got := read(topic, 1)[0]
	cases.Equal(got.Timestamp.UnixMilli(), 1234567890123, "timestamp")
	cases.Equal(got.Attrs.TimestampType(), 0, "type")
	return nil
}

func appendTime() error {
	topic := create("append-time", 1, "message.timestamp.type", "LogAppendTime")
	before := time.Now().UnixMilli()
	send([]*kgo.Record{{Topic: topic, Value: []byte("v"), Timestamp: time.UnixMilli(1)}},
		kgo.ProducerBatchCompression(kgo.GzipCompression()))
	got := read(topic, 1)[0]
	check(got.Timestamp.UnixMilli() >= before, "timestamp %v", got.Timestamp)
	cases.Equal(got.Attrs.TimestampType(), 1, "type")
	return nil
}

func nulls() error {
	topic := create("null", 1)
	pairs := [][2][]byte{{nil, []byte("v")}, {[]byte("k"), nil}, {nil, nil}, {{}, {}}}
	var records []*kgo.Record
	for _, pair := range pairs {
		records = append(records, &kgo.Record{Topic: topic, Key: pair[0], Value: pair[1]})
	}
	send(records)
	for i, record := range read(topic, len(pairs)) {
		for side, got := range [][]byte{record.Key, record.Value} {
			want := pairs[i][side]
			check(bytes.Equal(got, want) && (got == nil) == (want == nil), "pair %d is %v", i, got)
		}
	}
	return nil
}

func large() error {
	topic := create("large", 1, "max.message.bytes", "6000000")
	value := make([]byte, 5000000)
	rand.New(rand.NewSource(1)).Read(value)
	send([]*kgo.Record{{Topic: topic, Value: value}}, kgo.ProducerBatchMaxBytes(6000000))
	check(bytes.Equal(read(topic, 1)[0].Value, value), "another value")
	return nil
}

func tooLarge() error {
	topic := create("too-large", 1, "max.message.bytes", "1000")
	producer := client(kgo.ProducerBatchCompression(kgo.NoCompression()))
	defer producer.Close()
	record := &kgo.Record{Topic: topic, Value: make([]byte, 5000)}
	cases.Refused(producer.ProduceSync(soon(), record).FirstErr(), kerr.MessageTooLarge)
	cases.Must(producer.ProduceSync(soon(), &kgo.Record{Topic: topic, Value: make([]byte, 50)}).FirstErr())
	return nil
}

func assign() error {
	topic := numbered("assign", 2, 100)
	from := consumer(topic, 2, 0)
	defer from.Close()
	poll(from, 200)
	from.SetOffsets(map[string]map[int32]kgo.EpochOffset{topic: {1: {Epoch: -1, Offset: 42}}})
	got := poll(from, 1)[0]
	cases.Equal(got.Offset, 42, "offset after seek")
	cases.Equal(got.Partition, 1, "partition")
	return nil
}

func readCommitted() error {
	topic := numbered("read-committed", 1, 20)
	cases.Equal(len(read(topic, 20, kgo.FetchIsolationLevel(kgo.ReadCommitted()))), 20, "count")
	return nil
}

func offsetOf(found kadm.ListedOffsets, err error) int64 {
	cases.Must(err)
	for _, partitions := range found {
		cases.Must(partitions[0].Err)
		return partitions[0].Offset
	}
	return -2
}

func offsets() error {
	topic := numbered("offsets", 1, 100)
	cases.Equal(offsetOf(admin.ListStartOffsets(soon(), topic)), 0, "start")
	cases.Equal(offsetOf(admin.ListEndOffsets(soon(), topic)), 100, "end")
	cases.Equal(offsetOf(admin.ListCommittedOffsets(soon(), topic)), 100, "committed end")
	cases.Equal(offsetOf(admin.ListMaxTimestampOffsets(soon(), topic)), 99, "largest timestamp")
	return nil
}

func offsetsByTime() error {
	topic := numbered("by-time", 1, 100)
	for at, want := range map[int64]int64{1599999999999: 0, 1600000000000: 0, 1600000041001: 42, 1600000099000: 99,
		1700000000000: 100} { // after the end kadm asks for the end itself
		cases.Equal(offsetOf(admin.ListOffsetsAfterMilli(soon(), at, topic)), want, fmt.Sprint("the offset of ", at))
	}
	from := client(kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.ConsumePartitions(
		map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AfterMilli(1600000041001)}}))
	defer from.Close()
	cases.Equal(poll(from, 1)[0].Offset, 42, "the first offset consumed")
	return nil
}

func deleteRecords() error {
	topic := numbered("delete-records", 1, 100)
	before := kadm.Offsets{}
	before.AddOffset(topic, 0, 30, -1)
	deleted, _ := cases.Get(admin.DeleteRecords(soon(), before)).Lookup(topic, 0)
	cases.Must(deleted.Err)
	cases.Equal(deleted.LowWatermark, 30, "low watermark")
	cases.Equal(offsetOf(admin.ListStartOffsets(soon(), topic)), 30, "start")
	from := consumer(topic, 1, 30)
	defer from.Close()
	cases.Equal(poll(from, 70)[0].Offset, 30, "the first record")
	before.AddOffset(topic, 0, 500, -1)
	before[topic][0] = kadm.Offset{Topic: topic, At: 500, LeaderEpoch: -1}
	deleted, _ = cases.Get(admin.DeleteRecords(soon(), before)).Lookup(topic, 0)
	cases.Refused(deleted.Err, kerr.OffsetOutOfRange)
	return nil
}

func commit() error {
	topic := numbered("commit", 2, 10)
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: topic, Partition: 1, At: 7, LeaderEpoch: -1, Metadata: "a note"})
	cases.Must(admin.CommitAllOffsets(soon(), "franz-standalone", offsets))
	found, there := cases.Get(admin.FetchOffsets(soon(), "franz-standalone")).Lookup(topic, 1)
	check(there, "no offset")
	cases.Equal(found.At, 7, "committed")
	cases.Equal(found.Metadata, "a note", "note")
	for group, fetched := range admin.FetchManyOffsets(soon(), "franz-standalone", "franz-nobody") {
		cases.Must(fetched.Err)
		_, there = fetched.Fetched.Lookup(topic, 1)
		cases.Equal(there, group == "franz-standalone", "an offset of "+group)
	}
	return nil
}

func unknownTopic() error {
	found := cases.Get(admin.ListTopics(soon(), "franz-nowhere"))
	cases.Refused(found["franz-nowhere"].Err, kerr.UnknownTopicOrPartition)
	check(!listed("franz-nowhere"), "created")
	producer := client(kgo.UnknownTopicRetries(1))
	defer producer.Close()
	result := producer.ProduceSync(soon(), &kgo.Record{Topic: "franz-nowhere", Value: []byte("v")})
	cases.Refused(result.FirstErr(), kerr.UnknownTopicOrPartition)
	return nil
}

func autoCreate() error {
	send([]*kgo.Record{{Topic: "franz-by-itself", Value: []byte("v")}}, kgo.AllowAutoTopicCreation())
	cases.Equal(string(read("franz-by-itself", 1)[0].Value), "v", "value")
	return nil
}

func badTopic() error {
	for _, name := range []string{"with space", "..", strings.Repeat("x", 250), "a/b"} {
		_, err := admin.CreateTopic(soon(), 1, 1, nil, name)
		cases.Refused(err, kerr.InvalidTopicException)
	}
	_, err := admin.CreateTopic(soon(), 1, 3, nil, "franz-copies")
	cases.Refused(err, kerr.InvalidReplicationFactor)
	_, err = admin.CreateTopic(soon(), 1, 1, map[string]*string{"retention.ms": kadm.StringPtr("long")}, "franz-odd")
	cases.Refused(err, kerr.InvalidConfig)
	return nil
}

func outOfRange() error {
	from := consumer(create("out-of-range", 1), 1, 500)
	defer from.Close()
	fetches := from.PollFetches(soon())
	for _, failed := range fetches.Errors() {
		cases.Refused(failed.Err, kerr.OffsetOutOfRange)
		return nil
	}
	return errors.New("no error")
}

type place struct {
	partition int32
	offset    int64
}

// Produces while the broker is killed; which record was acknowledged at which place.
func produceInterrupted(topic string, producer *kgo.Client, kills ...int) map[place]int {
	defer producer.Close()
	type result struct {
		i      int
		record *kgo.Record
		err    error
	}
	results := make(chan result, cases.RestartCount)
	for i := range cases.RestartCount {
		record := &kgo.Record{Topic: topic, Partition: int32(i % 2), Value: cases.Value(i)}
		producer.Produce(context.Background(), record, func(r *kgo.Record, err error) { results <- result{i, r, err} })
		if slices.Contains(kills, i) {
			for len(results) < i/2 {
				time.Sleep(time.Millisecond)
			}
			cases.RestartNow()
		}
		if i%10 == 0 {
			time.Sleep(2 * time.Millisecond)
		}
	}
	cases.Must(producer.Flush(within(60 * time.Second)))
	acknowledged := map[place]int{}
	for range cases.RestartCount {
		done := <-results
		cases.Must(done.err)
		acknowledged[place{done.record.Partition, done.record.Offset}] = done.i
	}
	cases.Equal(len(acknowledged), cases.RestartCount, "different offsets acknowledged")
	return acknowledged
}

// Everything in both partitions.
func readBoth(topic string) []*kgo.Record {
	from := consumer(topic, 2, 0)
	defer from.Close()
	total := 0
	for _, end := range cases.Get(admin.ListEndOffsets(soon(), topic))[topic] {
		total += int(end.Offset)
	}
	return poll(from, total)
}

func restart() error {
	topic := create("restart", 2)
	producer := client(kgo.RecordRetries(1000), kgo.RetryTimeout(60*time.Second), kgo.DisableIdempotentWrite())
	acknowledged := produceInterrupted(topic, producer, cases.RestartCount/4)
	for _, record := range readBoth(topic) {
		where := place{record.Partition, record.Offset}
		if i, there := acknowledged[where]; there {
			check(bytes.Equal(record.Value, cases.Value(i)), "another record at %v", where)
			delete(acknowledged, where)
		}
	}
	cases.Equal(len(acknowledged), 0, "acknowledged and not there")
	return nil
}

// The client's own settings: idempotent.
func once() error {
	topic := create("once", 2)
	count := cases.RestartCount
	acknowledged := produceInterrupted(topic, client(), count/4, count/2, count*3/4)
	found := readBoth(topic)
	cases.Equal(len(found), count, "records in the topic")
	for _, record := range found {
		i := int(record.Offset)*2 + int(record.Partition)
		check(bytes.Equal(record.Value, cases.Value(i)), "not record %d", i)
		cases.Equal(acknowledged[place{record.Partition, record.Offset}], i, "what was acknowledged there")
	}
	return nil
}

func idempotent() error {
	topic := create("idempotent", 1)
	producer := cases.Get(kgo.NewClient(kgo.SeedBrokers(bootstrap)))
	defer producer.Close()
	cases.Must(producer.ProduceSync(within(8*time.Second), &kgo.Record{Topic: topic, Value: []byte("v")}).FirstErr())
	id, _, err := producer.ProducerID(soon())
	cases.Must(err)
	check(id >= 0, "the client produces without an id, for the broker has none to give")
	return nil
}

func transaction() error {
	topic := create("transaction", 1)
	producer := cases.Get(kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.TransactionalID("franz-transaction")))
	defer producer.Close()
	for _, how := range []kgo.TransactionEndTry{kgo.TryAbort, kgo.TryCommit} {
		cases.Must(producer.BeginTransaction())
		value := map[kgo.TransactionEndTry]string{kgo.TryAbort: "aborted", kgo.TryCommit: "committed"}[how]
		record := &kgo.Record{Topic: topic, Value: []byte(value)}
		cases.Must(producer.ProduceSync(within(8*time.Second), record).FirstErr())
		cases.Must(producer.EndTransaction(soon(), how))
	}
	got := read(topic, 1, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	cases.Equal(string(got[0].Value), "committed", "value")
	return nil
}

func group() error {
	topic := numbered("group", 2, 10)
	member := cases.Get(kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.ConsumerGroup("franz-group"),
		kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())))
	defer member.CloseAllowingRebalance()
	poll(member, 20)
	return member.CommitUncommittedOffsets(soon())
}

// Asks who has what until so many members have so many partitions each.
func untilSplit(name string, members, each int) {
	limit := soon()
	for {
		group := cases.Get(admin.DescribeConsumerGroups(limit, name))[name]
		cases.Must(group.Err)
		even := len(group.Members) == members
		for _, member := range group.Members {
			count := 0
			for _, partitions := range member.Assignment {
				count += len(partitions)
			}
			even = even && count == each
		}
		if even {
			cases.Equal(group.AssignorName, "uniform", "the assignor")
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func groupNext() error {
	topic, name := numbered("group-next", 2, 10), "franz-group-next"
	member := func(options ...kgo.Opt) *kgo.Client {
		return cases.Get(kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(bootstrap), kgo.ConsumerGroup(name),
			kgo.ServerSideBalancer(), kgo.Balancers(kgo.StickyBalancer()), kgo.DisableAutoCommit(),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}, options...)...))
	}
	first := member(kgo.ConsumeTopics(topic))
	defer first.CloseAllowingRebalance()
	poll(first, 20)
	cases.Must(first.CommitUncommittedOffsets(soon()))
	second := member(kgo.ConsumeRegex(), kgo.ConsumeTopics("^franz-gr.*-next$"))
	untilSplit(name, 2, 1)
	second.CloseAllowingRebalance()
	untilSplit(name, 1, 2)
	committed := cases.Get(admin.FetchOffsets(soon(), name))
	for partition := range int32(2) {
		found, _ := committed.Lookup(topic, partition)
		cases.Equal(found.At, int64(10), "committed")
	}
	return nil
}

func main() {
	admin = kadm.NewClient(client())
	cases.Main([]cases.Case{{Name: "metadata", Run: metadata}, {Name: "topic-create", Run: topicCreate},
		{Name: "topic-delete", Run: topicDelete}, {Name: "partitions", Run: partitions},
		{Name: "config-read", Run: configRead}, {Name: "config-change", Run: configChange},
		codec("none", kgo.NoCompression()), codec("gzip", kgo.GzipCompression()), codec("snappy", kgo.SnappyCompression()),
		codec("lz4", kgo.Lz4Compression()), codec("zstd", kgo.ZstdCompression()),
		acks("0", kgo.NoAck()), acks("1", kgo.LeaderAck()), acks("all", kgo.AllISRAcks()),
		{Name: "headers", Run: headers}, {Name: "timestamps", Run: timestamps}, {Name: "append-time", Run: appendTime},
		{Name: "null", Run: nulls}, {Name: "large", Run: large}, {Name: "too-large", Run: tooLarge},
		{Name: "assign", Run: assign}, {Name: "read-committed", Run: readCommitted}, {Name: "offsets", Run: offsets},
		{Name: "offsets-by-time", Run: offsetsByTime}, {Name: "delete-records", Run: deleteRecords},
		{Name: "commit", Run: commit}, {Name: "unknown-topic", Run: unknownTopic}, {Name: "auto-create", Run: autoCreate},
		{Name: "bad-topic", Run: badTopic}, {Name: "out-of-range", Run: outOfRange}, {Name: "restart", Run: restart}, {Name: "once", Run: once},
		{Name: "idempotent", Run: idempotent}, {Name: "transaction", Run: transaction}, {Name: "group", Run: group},
		{Name: "group-next", Run: groupNext}})
}
