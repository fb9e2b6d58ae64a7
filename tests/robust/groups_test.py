# SPDX-License-Identifier: Apache-2.0
"""What peers do to groups by mistake or malice: a clear error, bounded memory and time, and no effect
on the other groups."""
import os
import struct
import threading
import time
import unittest

from kafka.protocol.admin import DescribeGroupsRequest, ListGroupsRequest
from kafka.protocol.commit import GroupCoordinatorRequest, OffsetCommitRequest, OffsetFetchRequest
from kafka.protocol.group import HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest

from harness import script
from harness.broker import PATIENCE_S, Broker, frame, is_closed, read_reply
from harness.wire import call, create, encode

NONE, ILLEGAL_GENERATION, INCONSISTENT_PROTOCOL, INVALID_GROUP_ID, UNKNOWN_MEMBER_ID = 0, 22, 23, 24, 25
INVALID_SESSION_TIMEOUT, REBALANCE_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE = 26, 27, 15
INVALID_REQUEST, UNKNOWN_TOPIC, OFFSET_METADATA_TOO_LARGE, POLICY_VIOLATION, GROUP_FULL, MEMBER_ID_REQUIRED = 42, 3, 12, 44, 81, 79
INVALID_REGULAR_EXPRESSION, GROUP_ID_NOT_FOUND, UNSUPPORTED_ASSIGNOR = 128, 69, 112
MEBIBYTE = 1 << 20
JOIN_GROUP, CONSUMER_GROUP_HEARTBEAT = 11, 68
INT32_MAX = (1 << 31) - 1


def join(connection, group, member="", session_ms=10000, rebalance_ms=10000, kind="test",
         protocols=(("range", b"wish"),)):
    request = JoinGroupRequest[2](group, session_ms, rebalance_ms, member, kind, list(protocols))
    return call(connection, request)


def sync(connection, group, member, generation, assignments=()):
    return call(connection, SyncGroupRequest[1](group, generation, member, list(assignments)))


def heartbeat(connection, group, member, generation):
    return call(connection, HeartbeatRequest[1](group, generation, member)).error_code


def commit(connection, group, generation=-1, member="", topic="t", partition=0, offset=1, note=""):
    request = OffsetCommitRequest[2](group, generation, member, -1, [(topic, [(partition, offset, note)])])
    return call(connection, request).topics[0][1][0][1]


def compact(text):
    """A compact string; None: null."""
    if text is None:
        return b"\0"
    size, coded = len(text) + 1, b""
    while size > 127:
        coded += bytes([size & 127 | 128])
        size >>= 7
    return coded + bytes([size]) + text


def pulse(connection, group, member, epoch, topics=None, regex=None, rebalance_ms=-1, assignor=None, owned=None):
    """ConsumerGroupHeartbeat, version 1: its error."""
    names = b"\0" if topics is None else bytes([len(topics) + 1]) + b"".join(map(compact, topics))
    body = (b"\0" + compact(group) + compact(member) + struct.pack(">i", epoch) + compact(None) + compact(None) +
            struct.pack(">i", rebalance_ms) + names + compact(regex) + compact(assignor) +
            (b"\0" if owned is None else owned) + b"\0")
    connection.sendall(frame(CONSUMER_GROUP_HEARTBEAT, 1, body))
    reply = read_reply(connection)
    (error,) = struct.unpack_from(">h", reply, 9)  # behind the correlation id, tags, the throttle time
    return error


def subscription(topics):
    """What a consumer says in JoinGroup."""
    return (struct.pack(">hi", 1, len(topics)) + b"".join(struct.pack(">h", len(name)) + name for name in topics) +
            struct.pack(">ii", -1, 0))


def wait_for(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("it does not happen")
        time.sleep(0.02)


class Groups(unittest.TestCase):
    def setUp(self):
        self.broker = Broker(shards=2, settings=[
            "group.initial.rebalance.delay.ms=0", "group.min.session.timeout.ms=500", "group.max.size=50",
            "weir.max.groups=2000", "queued.max.request.bytes=16777216"]).start()
        self.addCleanup(lambda: self.broker.__exit__(None, None, None))
        self.connection = self.connect()
        self.assertEqual(create(self.connection, "t", 2)[0], NONE)
        self.neighbour = self.settle("neighbour", session_ms=600000)
        self.before = self.broker.memory()

    def tearDown(self):
        """Whatever a test did: the group beside it is as it was."""
        self.assertTrue(self.broker.alive(), self.broker.log()[-2000:])
        member, generation = self.neighbour
        with self.broker.connect() as connection:
            self.assertEqual(heartbeat(connection, "neighbour", member, generation), NONE)
            self.assertEqual(commit(connection, "neighbour", generation, member), NONE)

    def connect(self):
        connection = self.broker.connect()
        self.addCleanup(connection.close)
        return connection

    def settle(self, group, **config):
        """A group of one member: (member id, generation)."""
        joined = join(self.connection, group, **config)
        self.assertEqual(joined.error_code, NONE)
        answer = sync(self.connection, group, joined.member_id, joined.generation_id, [(joined.member_id, b"part")])
        self.assertEqual((answer.error_code, answer.member_assignment), (NONE, b"part"))
        return joined.member_id, joined.generation_id

    def test_names_that_are_no_names(self):
        for group in ("", "g" * 1025, "g" * 32767):
            with self.subTest(size=len(group)):
                self.assertEqual(join(self.connection, group).error_code, INVALID_GROUP_ID)
                self.assertEqual(sync(self.connection, group, "m", 1).error_code, INVALID_GROUP_ID)
                self.assertEqual(heartbeat(self.connection, group, "m", 1), INVALID_GROUP_ID)
                self.assertEqual(call(self.connection, LeaveGroupRequest[1](group, "m")).error_code, INVALID_GROUP_ID)
                self.assertEqual(call(self.connection, GroupCoordinatorRequest[0](group)).error_code, INVALID_GROUP_ID)
        for group in ("g" * 1025, "g" * 32767):
            self.assertEqual(commit(self.connection, group), INVALID_GROUP_ID)
            fetched = call(self.connection, OffsetFetchRequest[1](group, [("t", [0])]))
            self.assertEqual(fetched.topics[0][1][0][3], INVALID_GROUP_ID)
            described = call(self.connection, DescribeGroupsRequest[1]([group])).groups[0]
            self.assertEqual(described[0], INVALID_GROUP_ID)
        self.settle("g" * 1024)

    def test_absurd_timeouts(self):
        for session_ms in (-(1 << 31), -1, 0, 499, 1800001, INT32_MAX):
            with self.subTest(session_ms=session_ms):
                self.assertEqual(join(self.connection, "g", session_ms=session_ms).error_code, INVALID_SESSION_TIMEOUT)
        for rebalance_ms in (-(1 << 31), -1, 0, INT32_MAX):
            with self.subTest(rebalance_ms=rebalance_ms):
                self.assertEqual(join(self.connection, f"g{rebalance_ms}", rebalance_ms=rebalance_ms).error_code, NONE)

    def test_foreign_members_and_generations(self):
        member, generation = self.settle("g")
        for group, who, when, error in (("g", member, generation + 1, ILLEGAL_GENERATION),
                                        ("g", member, generation - 1, ILLEGAL_GENERATION),
                                        ("g", member, -1, ILLEGAL_GENERATION),
                                        ("g", "stranger", generation, UNKNOWN_MEMBER_ID),
                                        ("g", "", generation, UNKNOWN_MEMBER_ID),
                                        ("nobody", member, generation, UNKNOWN_MEMBER_ID)):
            with self.subTest(group=group, member=who, generation=when):
                self.assertEqual(heartbeat(self.connection, group, who, when), error)
                self.assertEqual(sync(self.connection, group, who, when).error_code, error)
        self.assertEqual(commit(self.connection, "g", generation + 1, member), ILLEGAL_GENERATION)
        self.assertEqual(commit(self.connection, "g", generation, "stranger"), UNKNOWN_MEMBER_ID)
        self.assertEqual(commit(self.connection, "g"), UNKNOWN_MEMBER_ID)
        self.assertEqual(commit(self.connection, "nobody", 5, "m"), ILLEGAL_GENERATION)
        self.assertEqual(join(self.connection, "g", "stranger").error_code, UNKNOWN_MEMBER_ID)
        self.assertEqual(join(self.connection, "g", kind="other").error_code, INCONSISTENT_PROTOCOL)
        self.assertEqual(join(self.connection, "g", protocols=[("other", b"")]).error_code, INCONSISTENT_PROTOCOL)
        self.assertEqual(join(self.connection, "g", protocols=[]).error_code, INCONSISTENT_PROTOCOL)
        self.assertEqual(heartbeat(self.connection, "g", member, generation), NONE)

    def test_foreign_topics_and_offsets(self):
        member, generation = self.settle("g")
        where = {"generation": generation, "member": member}
        self.assertEqual(commit(self.connection, "g", topic="none", **where), UNKNOWN_TOPIC)
        self.assertEqual(commit(self.connection, "g", partition=2, **where), UNKNOWN_TOPIC)
        self.assertEqual(commit(self.connection, "g", partition=-1, **where), UNKNOWN_TOPIC)
        self.assertEqual(commit(self.connection, "g", partition=INT32_MAX, **where), UNKNOWN_TOPIC)
        self.assertNotEqual(commit(self.connection, "g", offset=-5, **where), NONE)
        self.assertEqual(commit(self.connection, "g", note="n" * 4097, **where), OFFSET_METADATA_TOO_LARGE)
        self.assertEqual(commit(self.connection, "g", note="n" * 4096, **where), NONE)

    def test_metadata_that_means_nothing(self):
        """Consumers' wishes are looked into only for what depends on them, and may be anything."""
        for number, wish in enumerate((b"", b"\x00", b"\xff" * 1000, struct.pack(">hi", 3, INT32_MAX),
                                       struct.pack(">hih", 0, 1, 32767), struct.pack(">hihs", 0, 1000000, 1, b"t"))):
            with self.subTest(wish=wish[:10]):
                group = f"odd-{number}"
                member, generation = self.settle(group, kind="consumer", protocols=[("range", wish)])
                described = call(self.connection, DescribeGroupsRequest[1]([group])).groups[0]
                self.assertEqual(described[5][0][3], wish)
                self.assertEqual(commit(self.connection, group, generation, member), NONE)
                self.assertEqual(call(self.connection, LeaveGroupRequest[1](group, member)).error_code, NONE)

    def test_more_metadata_than_a_group_may_have(self):
        errors = []

        def ask(connection):
            heartbeat(connection, "none", "m", 1)  # a first request of this size is not read
            errors.append(join(connection, "fat", session_ms=10000, rebalance_ms=10000,
                               protocols=[("range", b"x" * MEBIBYTE)]).error_code)

        threads = [threading.Thread(target=ask, args=(self.connect(),)) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        self.assertEqual(len(errors), 20)
        self.assertGreaterEqual(len([error for error in errors if error == GROUP_FULL]), 12)
        self.assertLess(self.broker.memory() - self.before, 160 * MEBIBYTE)

    def test_assignments_for_unknown_members(self):
        joined = join(self.connection, "g")
        strangers = [(f"stranger-{i}", b"part" * 100) for i in range(10000)]
        answer = sync(self.connection, "g", joined.member_id, joined.generation_id, strangers)
        self.assertEqual((answer.error_code, answer.member_assignment), (INVALID_REQUEST, b""))
        answer = sync(self.connection, "g", joined.member_id, joined.generation_id, strangers[:40])
        self.assertEqual((answer.error_code, answer.member_assignment), (NONE, b""))
        described = call(self.connection, DescribeGroupsRequest[1](["g"])).groups[0]
        self.assertEqual(len(described[5]), 1)

    def test_members_that_never_sync(self):
        """The leader says nothing: those who wait for it are let go, and the group goes on without it."""
        leader = join(self.connection, "g", session_ms=1000, rebalance_ms=1000)
        self.assertEqual(leader.error_code, NONE)
        follower = self.connect()
        deadline = time.monotonic() + PATIENCE_S
        while (joined := join(follower, "g", session_ms=10000, rebalance_ms=1000)).leader_id != joined.member_id:
            self.assertLess(time.monotonic(), deadline)
            if joined.error_code == NONE:
                call(follower, LeaveGroupRequest[1]("g", joined.member_id))
        answer = sync(follower, "g", joined.member_id, joined.generation_id, [(joined.member_id, b"all")])
        self.assertEqual((answer.error_code, answer.member_assignment), (NONE, b"all"))

    def test_a_full_group(self):
        """Nobody is let in beyond the limit, however many ask at once."""
        connections = [self.connect() for _ in range(60)]
        answers = []

        def ask(connection):
            answers.append(join(connection, "full", session_ms=10000, rebalance_ms=10000))

        threads = [threading.Thread(target=ask, args=(connection,)) for connection in connections]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        self.assertEqual(len(answers), 60)
        refused = [answer for answer in answers if answer.error_code == GROUP_FULL]
        self.assertTrue(refused)
        self.assertLessEqual(max(len(answer.members) for answer in answers), 50)

    def test_a_thousand_joins_a_second(self):
        """One client, ever new groups and members: what it can make the broker keep is bounded."""
        body = (struct.pack(">ii", 1800000, 1800000) + struct.pack(">h", 0) + struct.pack(">hh4s", -1, 4, b"test") +
                struct.pack(">ih5si", 1, 5, b"range", 4) + b"wish")
        errors = {}
        for number in range(100):
            burst = b""
            for i in range(100):
                name = b"group-%d" % ((number * 100 + i) % 5000)
                burst += frame(JOIN_GROUP, 5, struct.pack(">h", len(name)) + name + body)
            self.connection.sendall(burst)
            for _ in range(100):
                reply = read_reply(self.connection)
                (error,) = struct.unpack_from(">h", reply, 8)
                errors[error] = errors.get(error, 0) + 1
        self.assertEqual(set(errors), {MEMBER_ID_REQUIRED, POLICY_VIOLATION})
        self.assertLess(self.broker.memory() - self.before, 64 * MEBIBYTE)
        listed = call(self.connection, ListGroupsRequest[1]())
        self.assertLessEqual(len(listed.groups), 2000)

    def test_clients_that_go_while_they_wait(self):
        """Their places and descriptors are free again; the member has its session to come back."""
        member, generation = self.settle("g", session_ms=600000)
        for _ in range(300):
            with self.broker.connect() as connection:
                connection.sendall(frame(JOIN_GROUP, 2, self.join_body(b"g", rebalance_ms=INT32_MAX)))
        wait_for(lambda: self.open_sockets() <= 5)
        while (error := heartbeat(self.connection, "g", member, generation)) == REBALANCE_IN_PROGRESS:
            joined = join(self.connection, "g", member)
            self.assertEqual(joined.error_code, NONE)
            generation = joined.generation_id
            sync(self.connection, "g", member, generation, [(member, b"part")])
        self.assertEqual(error, NONE)

    def test_large_requests_that_wait(self):
        """They do not keep the broker from reading the one that they wait for."""
        member, generation = self.settle("g", session_ms=600000, rebalance_ms=600000)
        waiting = []
        for _ in range(40):
            connection = self.connect()
            heartbeat(connection, "none", "m", 1)  # a first request of this size is not read
            connection.sendall(frame(JOIN_GROUP, 2, self.join_body(b"g", session_ms=600000, rebalance_ms=600000)))
            waiting.append(connection)
        wait_for(lambda: len(call(self.connection, DescribeGroupsRequest[1](["g"])).groups[0][5]) == 41)
        joined = join(self.connection, "g", member, session_ms=600000, rebalance_ms=600000)
        self.assertEqual((joined.error_code, len(joined.members)), (NONE, 41))
        mebibyte = [("stranger", b"x" * MEBIBYTE)]
        followers = [row[0] for row in joined.members if row[0] != joined.leader_id]
        for connection, follower in zip(waiting, followers):
            read_reply(connection)
            connection.sendall(encode(SyncGroupRequest[1]("g", joined.generation_id, follower, mebibyte), 1))
        answer = sync(self.connection, "g", member, joined.generation_id, [(name, b"part") for name in followers])
        self.assertEqual(answer.error_code, NONE)
        for connection in waiting:
            self.assertIn(b"part", read_reply(connection))

    def join_body(self, group, session_ms=10000, rebalance_ms=10000):
        return (struct.pack(">h", len(group)) + group + struct.pack(">ii", session_ms, rebalance_ms) + struct.pack(">h", 0) +
                struct.pack(">h4s", 4, b"test") + struct.pack(">ih5si", 1, 5, b"range", 4) + b"wish")

    def open_sockets(self):
        directory = f"/proc/{self.broker.process.pid}/fd"
        count = 0
        for name in os.listdir(directory):
            try:
                count += os.readlink(os.path.join(directory, name)).startswith("socket:")
            except FileNotFoundError:  # closed while this looked
                pass
        return count

    def test_patterns_that_are_built_to_explode(self):
        self.assertEqual(create(self.connection, "a" * 200, 1)[0], NONE)
        for number, regex in enumerate((b"(a+)+[bc]", b"(a|aa)+[bc]", b"(.*)*(.*)*(.*)*[bc]", b"(" * 300 + b")" * 300, b"(",
                                        b"a{1000}{1000}", b"\\", b"[", b"x" * 1025, b"x" * 32767, b"(?R)", b"(?{1})")):
            with self.subTest(regex=regex[:20]):
                error = pulse(self.connection, b"g%d" % number, b"m", 0, regex=regex, rebalance_ms=1000, owned=b"\1")
                self.assertEqual(error, INVALID_REGULAR_EXPRESSION)
        self.assertLess(self.broker.memory() - self.before, 32 * MEBIBYTE)

    def test_heartbeats_that_make_no_sense(self):
        def refused(**change):
            asked = {"member": b"m", "epoch": 0, "topics": [b"t"], "rebalance_ms": 1000, "owned": b"\1", **change}
            return pulse(self.connection, change.pop("group", b"odd"), **{k: v for k, v in asked.items() if k != "group"})
        self.assertEqual(refused(rebalance_ms=-2), INVALID_REQUEST)
        self.assertEqual(refused(rebalance_ms=-(1 << 31)), INVALID_REQUEST)
        self.assertEqual(refused(epoch=-3), INVALID_REQUEST)
        self.assertEqual(refused(epoch=-2), INVALID_REQUEST)  # of no static member
        self.assertEqual(refused(epoch=-(1 << 31)), INVALID_REQUEST)
        self.assertEqual(refused(epoch=INT32_MAX), UNKNOWN_MEMBER_ID)
        self.assertEqual(refused(member=b"m" * 256), INVALID_REQUEST)
        self.assertEqual(refused(member=b""), INVALID_REQUEST)
        self.assertEqual(refused(topics=None), INVALID_REQUEST)
        self.assertEqual(refused(owned=None), INVALID_REQUEST)
        self.assertEqual(refused(assignor=b"best"), UNSUPPORTED_ASSIGNOR)
        self.assertEqual(refused(group=b"g" * 32767), INVALID_GROUP_ID)
        self.assertEqual(refused(group=b""), INVALID_GROUP_ID)
        self.assertEqual(refused(rebalance_ms=INT32_MAX), NONE)
        self.assertEqual(refused(group=b"neighbour"), GROUP_ID_NOT_FOUND)  # whose members are no consumers

    def test_a_group_that_is_turned_over_and_over(self):
        """As fast as a client can ask for it, and its members have said much. Those beside it do not wait."""
        wish = subscription([b"topic-%d" % i for i in range(5000)])
        member, generation = self.settle_as_consumer(wish)
        slowest = 0
        other = self.connect()
        for number in range(100):
            self.assertEqual(pulse(self.connection, b"g", b"c", 0, [b"t"], rebalance_ms=1000, owned=b"\1"), NONE)
            begin = time.monotonic()
            self.assertEqual(heartbeat(other, "neighbour", *self.neighbour), NONE)
            slowest = max(slowest, time.monotonic() - begin)
            self.assertEqual(pulse(self.connection, b"g", b"c", -1), NONE)
        self.assertLess(slowest, PATIENCE_S)
        self.assertIn(heartbeat(self.connection, "g", member, generation), (ILLEGAL_GENERATION, REBALANCE_IN_PROGRESS))
        # What sanitizers keep of freed memory is in this.
        self.assertLess(self.broker.memory() - self.before, 320 * MEBIBYTE)

    def settle_as_consumer(self, wish):
        joined = join(self.connection, "g", kind="consumer", session_ms=600000, protocols=[("range", wish)])
        part = struct.pack(">hih1sii", 1, 1, 1, b"t", 1, 0) + struct.pack(">i", -1)
        sync(self.connection, "g", joined.member_id, joined.generation_id, [(joined.member_id, part)])
        return joined.member_id, joined.generation_id

    def test_many_names_in_one_request(self):
        names = [f"none-{i}" for i in range(20000)] + ["neighbour"]
        described = call(self.connection, DescribeGroupsRequest[1](names)).groups
        self.assertEqual([row[2] for row in described[:-1]], ["Dead"] * 20000)
        self.assertEqual(described[-1][2], "Stable")

    def test_counts_that_lie(self):
        whole = self.join_body(b"g")
        for cut in range(0, len(whole), 3):
            with self.subTest(cut=cut), self.broker.connect() as connection:
                connection.sendall(frame(JOIN_GROUP, 2, whole[:cut]))
                self.assertTrue(is_closed(connection))
        lies = whole[:-15] + struct.pack(">i", INT32_MAX) + whole[-11:]
        with self.broker.connect() as connection:
            connection.sendall(frame(JOIN_GROUP, 2, lies))
            self.assertTrue(is_closed(connection))


if __name__ == "__main__":
    script.main()
