// SPDX-License-Identifier: Apache-2.0

// Loads a JetStream stream with the newest nats.go: publishes asynchronously, consumes, publishes one
// message at a time, or publishes at a rate and measures each message's way to a consumer from the
// moment it was due. Prints one line of JSON. Compiled by install.py, not with the project.
package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"flag"
	"log"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	unacknowledged = 4096
	timeout        = 300 * time.Second
	fetched        = 10000
)

var (
	url       = flag.String("url", nats.DefaultURL, "the server")
	mode      = flag.String("mode", "produce", "create, produce, consume, single or paced")
	stream    = flag.String("stream", "load", "the stream, which is also its subject")
	size      = flag.Int("size", 1024, "bytes per message")
	count     = flag.Int("count", 100000, "messages")
	producers = flag.Int("producers", 1, "connections that publish")
	rate      = flag.Int("rate", 1000, "messages per second, of paced")
	seconds   = flag.Float64("seconds", 1, "of single and paced")
)

type result map[string]any

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// failed counts messages that were not stored.
var failed atomic.Int64

func connect() jetstream.JetStream {
	connection, err := nats.Connect(*url)
	check(err)
	js, err := jetstream.New(connection, jetstream.WithPublishAsyncMaxPending(unacknowledged),
		jetstream.WithPublishAsyncTimeout(timeout),
		jetstream.WithPublishAsyncErrHandler(func(jetstream.JetStream, *nats.Msg, error) { failed.Add(1) }))
	check(err)
	return js
}

func payload() []byte {
	value := make([]byte, *size)
	rand.Read(value)
	return value
}

func create(ctx context.Context) result {
	_, err := connect().CreateStream(ctx, jetstream.StreamConfig{
		Name: *stream, Subjects: []string{*stream}, Storage: jetstream.FileStorage})
	check(err)
	return result{}
}

// publish sends n messages through a connection of its own.
func publish(n int) {
	js := connect()
	value := payload()
	for range n {
		_, err := js.PublishAsync(*stream, value, jetstream.WithStallWait(timeout))
		check(err)
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(timeout):
		log.Fatal("acknowledgements are missing")
	}
}

func produce() result {
	var all sync.WaitGroup
	begin := time.Now()
	for i := range *producers {
		share := *count / *producers
		if i < *count%*producers {
			share++
		}
		all.Go(func() { publish(share) })
	}
	all.Wait()
	return result{"messages": *count, "seconds": time.Since(begin).Seconds()}
}

func consume(ctx context.Context) result {
	consumer, err := connect().OrderedConsumer(ctx, *stream, jetstream.OrderedConsumerConfig{})
	check(err)
	done := make(chan struct{})
	left := *count
	begin := time.Now()
	reading, err := consumer.Consume(func(jetstream.Msg) {
		left--
		if left == 0 {
			close(done)
		}
	}, jetstream.PullMaxMessages(fetched))
	check(err)
	select {
	case <-done:
	case <-time.After(timeout):
		log.Fatalf("%d messages are missing", left)
	}
	took := time.Since(begin)
	reading.Stop()
	return result{"messages": *count, "seconds": took.Seconds()}
}

func single(ctx context.Context) result {
	js := connect()
	value := payload()
	var times []time.Duration
	begin := time.Now()
	for time.Since(begin).Seconds() < *seconds {
		sent := time.Now()
		_, err := js.Publish(ctx, *stream, value)
		check(err)
		times = append(times, time.Since(sent))
	}
	return latencies(result{"messages": len(times), "seconds": time.Since(begin).Seconds()}, times)
}

// paced stamps each message with the moment it is due, so that one that waits behind others counts
// its wait.
func paced(ctx context.Context) result {
	total := int(float64(*rate) * *seconds)
	times := make([]time.Duration, 0, total)
	done := make(chan struct{})
	origin := time.Now()
	consumer, err := connect().OrderedConsumer(ctx, *stream, jetstream.OrderedConsumerConfig{})
	check(err)
	reading, err := consumer.Consume(func(message jetstream.Msg) {
		due := time.Duration(binary.LittleEndian.Uint64(message.Data()))
		times = append(times, time.Since(origin)-due)
		if len(times) == total {
			close(done)
		}
	}, jetstream.PullMaxMessages(fetched))
	check(err)
	js := connect()
	value := payload()
	begin := time.Since(origin)
	for i := range total {
		due := begin + time.Duration(float64(i)/float64(*rate)*float64(time.Second))
		if wait := due - time.Since(origin); wait > 0 {
			time.Sleep(wait)
		}
		stamped := slices.Clone(value)
		binary.LittleEndian.PutUint64(stamped, uint64(due))
		_, err := js.PublishAsync(*stream, stamped, jetstream.WithStallWait(timeout))
		check(err)
	}
	took := time.Since(origin) - begin
	select {
	case <-done:
	case <-time.After(timeout):
		log.Fatal("messages are missing")
	}
	reading.Stop()
	return latencies(result{"messages": total, "seconds": took.Seconds()}, times)
}

func latencies(found result, times []time.Duration) result {
	slices.Sort(times)
	for name, quantile := range map[string]float64{"p50_us": 0.5, "p99_us": 0.99, "p999_us": 0.999, "p9999_us": 0.9999, "max_us": 1} {
		place := min(int(quantile*float64(len(times))), len(times)-1)
		found[name] = float64(times[place].Nanoseconds()) / 1000
	}
	return found
}

func main() {
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Hour)
	defer cancel()
	var found result
	switch *mode {
	case "create":
		found = create(ctx)
	case "produce":
		found = produce()
	case "consume":
		found = consume(ctx)
	case "single":
		found = single(ctx)
	case "paced":
		found = paced(ctx)
	default:
		log.Fatalf("there is no mode %s", *mode)
	}
	if failed.Load() > 0 {
		log.Fatalf("%d messages were not stored", failed.Load())
	}
	check(json.NewEncoder(os.Stdout).Encode(found))
}
