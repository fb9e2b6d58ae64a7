# SPDX-License-Identifier: Apache-2.0
"""Apache Kafka: one node that is broker and controller, from its Maven packages, with the settings of
the server.properties and the JVM options of the start script that it is shipped with; the heap is 2 GB,
twice the script's. The synced one differs in log.flush.interval.messages=1 alone."""
import os

from peers import install
from peers.peer import Peer, free_port, run

JVM = ("-Xms2g", "-Xmx2g", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
       "-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent", "-Djava.awt.headless=true")
CLUSTER = "d2VpcldlaXJXZWlyd2Vpcg"
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
socket.receive.buffer.bytes=102400
socket.request.max.bytes=104857600
log.dirs={data}
num.partitions=1
num.recovery.threads.per.data.dir=1
offsets.topic.replication.factor=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
log.retention.hours=168
log.segment.bytes=1073741824
log.retention.check.interval.ms=300000
"""
LOGGING = """\
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=[%d] %p %m (%c)%n
rootLogger.level=INFO
rootLogger.appenderRef.out.ref=out
"""


class Kafka(Peer):
    name, protocol = "kafka", "kafka"
    ready = r"Kafka Server started"

    def __init__(self, options, synced):
        super().__init__(options)
        self.synced = synced
        self.label = "Kafka, log.flush.interval.messages=1" if synced else "Kafka as shipped"
        self.classpath = None

    def install(self):
        self.classpath = install.jars("kafka")
        self.version = dict(install.pins("kafka", "maven"))["org.apache.kafka:kafka_2.13"]

    def java(self, *arguments):
        return ["java", "-cp", self.classpath, f"-Dlog4j2.configurationFile={self.directory}/log4j2.properties",
                *arguments]

    def prepare(self):
        text = PROPERTIES.format(port=self.port, controller=free_port(), data=self.data())
        if self.synced:
            text += "log.flush.interval.messages=1\n"
        with open(os.path.join(self.directory, "server.properties"), "w") as file:
            file.write(text)
        with open(os.path.join(self.directory, "log4j2.properties"), "w") as file:
            file.write(LOGGING)
        run(self.java("kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", f"{self.directory}/server.properties"),
            timeout=60)

    def command(self):
        return self.java(*JVM, "kafka.Kafka", f"{self.directory}/server.properties")

    def settings(self):
        return ("server.properties as shipped, heap 2 GB, G1 as in its start script" +
                (", log.flush.interval.messages=1" if self.synced else ""))


def peers(options):
    return [Kafka(options, False), Kafka(options, True)]
