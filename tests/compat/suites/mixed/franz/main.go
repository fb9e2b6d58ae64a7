// SPDX-License-Identifier: Apache-2.0

// A member of a group with franz-go: BROKERS GROUP TOPIC [SETTING=VALUE...], as members.py tells.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

var out = bufio.NewWriter(os.Stdout)

func say(kind string, partitions map[string][]int32) {
	for _, numbers := range partitions {
		for _, number := range numbers {
			fmt.Fprintln(out, kind, number)
		}
	}
	out.Flush()
}

func commit(client *kgo.Client) {
	limited, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := client.CommitUncommittedOffsets(limited); err != nil {
		fmt.Fprintln(os.Stderr, "commit:", err)
	}
}

func milliseconds(text string) time.Duration {
	number, err := strconv.Atoi(text)
	if err != nil {
		panic(err)
	}
	return time.Duration(number) * time.Millisecond
}

func option(name, value string) kgo.Opt {
	switch name {
	case "auto.offset.reset":
		return kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())
	case "group.instance.id":
		return kgo.InstanceID(value)
	case "session.timeout.ms":
		return kgo.SessionTimeout(milliseconds(value))
	case "heartbeat.interval.ms":
		return kgo.HeartbeatInterval(milliseconds(value))
	case "max.poll.interval.ms":
		return kgo.RebalanceTimeout(milliseconds(value))
	case "group.protocol":
		return kgo.ServerSideBalancer()
	case "partition.assignment.strategy":
		return kgo.Balancers(map[string]kgo.GroupBalancer{"range": kgo.RangeBalancer(),
			"sticky": kgo.StickyBalancer(), "cooperative-sticky": kgo.CooperativeStickyBalancer()}[value])
	}
	panic("unknown setting " + name)
}

// Callbacks run between AllowRebalance and the next poll only: what was polled is printed by then.
func follow(client *kgo.Client, running context.Context) {
	since, dirty := time.Now(), false
	for running.Err() == nil {
		limited, cancel := context.WithTimeout(running, 100*time.Millisecond)
		fetches := client.PollFetches(limited)
		cancel()
		fetches.EachRecord(func(record *kgo.Record) {
			fmt.Fprintf(out, "P %d %d %s\n", record.Partition, record.Offset, record.Value)
			dirty = true
		})
		out.Flush()
		if dirty && time.Since(since) > 200*time.Millisecond {
			commit(client)
			since, dirty = time.Now(), false
		}
		client.AllowRebalance()
	}
	commit(client)
}

func main() {
	running, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	options := []kgo.Opt{kgo.SeedBrokers(os.Args[1]), kgo.ConsumerGroup(os.Args[2]), kgo.ConsumeTopics(os.Args[3]),
		kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(), kgo.Balancers(kgo.StickyBalancer()),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, assigned map[string][]int32) {
			say("A", assigned)
		}),
		kgo.OnPartitionsRevoked(func(_ context.Context, client *kgo.Client, revoked map[string][]int32) {
			say("R", revoked)
			commit(client)
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, lost map[string][]int32) { say("L", lost) })}
	for _, setting := range os.Args[4:] {
		name, value, _ := strings.Cut(setting, "=")
		options = append(options, option(name, value))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		panic(err)
	}
	follow(client, running)
	client.CloseAllowingRebalance()
}
