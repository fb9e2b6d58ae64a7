// SPDX-License-Identifier: Apache-2.0
// kafkajs against the broker: kafkajs.js BOOTSTRAP [CASE...].
'use strict'

const assert = require('assert')
const crypto = require('crypto')
const { Kafka, CompressionTypes, CompressionCodecs, ConfigResourceTypes, logLevel } = require('kafkajs')
CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')

const [bootstrap, ...wanted] = process.argv.slice(2)
const COUNT = 500
const RESTART_COUNT = 2000
const kafka = new Kafka({ brokers: [bootstrap], logLevel: logLevel.NOTHING, retry: { retries: 12, maxRetryTime: 1000 } })
const impatient = new Kafka({ brokers: [bootstrap], logLevel: logLevel.NOTHING, retry: { retries: 1, initialRetryTime: 50 } })
const admin = impatient.admin()

class Absent extends Error {}

const value = i => `record ${i} of many, all much alike and so good to compress`.repeat(3)
const pause = ms => new Promise(resolve => setTimeout(resolve, ms))
const entries = configs => Object.entries(configs).map(([name, text]) => ({ name, value: text }))

async function create(name, numPartitions = 1, configs = {}, more = {}) {
  const topic = 'js-' + name
  const made = await admin.createTopics({
    topics: [{ topic, numPartitions, replicationFactor: 1, configEntries: entries(configs), ...more }],
  })
  assert(made, 'the topic was there already')
  return topic
}

async function send(topic, messages, settings = {}, client = kafka, options = {}) {
  const producer = client.producer({ createPartitioner: () => ({ message }) => message.partition || 0, ...options })
  await producer.connect()
  try {
    return await producer.send({ topic, messages, ...settings })
  } finally {
    await producer.disconnect()
  }
}

// The client has no assignment: its consumers are always members of a group. Below the public calls
// there is the same Fetch that they use.
async function read(topic, count, offset = '0', partition = 0, isolationLevel = 1) {
  const cluster = kafka.admin()
  await cluster.connect()
  const { createCluster } = access()
  const direct = createCluster(isolationLevel)
  await direct.connect()
  try {
    await direct.addTargetTopic(topic)
    const broker = await direct.findBroker({ nodeId: Number(direct.findLeaderForPartitions(topic, [partition]) &&
      Object.keys(direct.findLeaderForPartitions(topic, [partition]))[0]) })
    const records = []
    const deadline = Date.now() + 20000
    while (records.length < count && Date.now() < deadline) {
      const answer = await broker.fetch({
        isolationLevel, maxWaitTime: 500, minBytes: 1, maxBytes: 10000000, rackId: '',
        topics: [{ topic, partitions: [{ partition, fetchOffset: offset, maxBytes: 10000000 }] }],
      })
      for (const message of answer.responses[0].partitions[0].messages) {
        if (BigInt(message.offset) >= BigInt(offset)) records.push(message)
      }
      if (records.length) offset = String(BigInt(records[records.length - 1].offset) + 1n)
    }
    assert(records.length >= count, `read ${records.length} of ${count} records`)
    return records
  } finally {
    await direct.disconnect()
    await cluster.disconnect()
  }
}

function access() {
  const Cluster = require('kafkajs/src/cluster')
  const socketFactory = require('kafkajs/src/network/socketFactory')()
  const silent = { info() {}, error() {}, warn() {}, debug() {}, namespace() { return silent } }
  return {
    createCluster: isolationLevel => new Cluster({
      logger: silent, socketFactory, brokers: [bootstrap], ssl: null, sasl: null, clientId: 'direct',
      connectionTimeout: 5000, requestTimeout: 20000, enforceRequestTimeout: true, metadataMaxAge: 300000,
      retry: { retries: 5 }, allowAutoTopicCreation: false, maxInFlightRequests: null, isolationLevel,
      offsets: new Map(), instrumentationEmitter: null,
    }),
  }
}

async function roundTrip(name, settings) {
  const topic = await create(name)
  const messages = [...Array(COUNT).keys()].map(i => ({ key: `key${i}`, value: value(i) }))
  const sent = await send(topic, messages, settings)
  if (settings.acks !== 0) assert.strictEqual(sent[0].baseOffset, '0')
  const got = await read(topic, COUNT)
  got.forEach((message, i) => {
    assert.strictEqual(message.offset, String(i))
    assert.strictEqual(message.key.toString(), `key${i}`)
    assert.strictEqual(message.value.toString(), value(i))
  })
}

async function numbered(name, partitions = 1, count = 100) {
  const topic = await create(name, partitions)
  const messages = []
  for (let i = 0; i < count; i++) {
    for (let partition = 0; partition < partitions; partition++) {
      messages.push({ value: value(i), partition, timestamp: String(1600000000000 + i * 1000) })
    }
  }
  await send(topic, messages, { compression: CompressionTypes.GZIP })
  return topic
}

async function refused(type, action) {
  await assert.rejects(action, error => {
    const types = [error, ...(error.errors || []), error.cause || {}].map(e => e.type)
    assert(types.includes(type), `refused with ${error}`)
    return true
  })
}

async function config(type, name) {
  const found = await admin.describeConfigs({ resources: [{ type, name }], includeSynonyms: false })
  return Object.fromEntries(found.resources[0].configEntries.map(e => [e.configName, e.configValue]))
}

// Produces while the broker is killed; which message was acknowledged at which place.
async function produceInterrupted(topic, kills, settings) {
  const producer = kafka.producer({ createPartitioner: () => ({ message }) => message.partition, ...settings })
  const acknowledged = new Map()
  await producer.connect()
  for (let i = 0; i < RESTART_COUNT; i += 20) {
    const messages = [...Array(20).keys()].map(j => ({ value: value(i + j), partition: (i / 20) % 2 }))
    if (kills.includes(i)) console.log('restart-now')
    const [sent] = await producer.send({ topic, messages, acks: -1 })
    for (let j = 0; j < 20; j++) acknowledged.set(`${sent.partition}/${Number(sent.baseOffset) + j}`, i + j)
    await pause(2)
  }
  await producer.disconnect()
  assert.strictEqual(acknowledged.size, RESTART_COUNT)
  return acknowledged
}

// Everything in both partitions: texts by place.
async function readBoth(topic) {
  const found = new Map()
  for (const { partition, high } of await admin.fetchTopicOffsets(topic)) {
    for (const message of await read(topic, Number(high), '0', partition)) {
      found.set(`${partition}/${message.offset}`, String(message.value))
    }
  }
  return found
}

const cases = {
  async metadata() {
    const topic = await create('metadata', 3)
    const cluster = await admin.describeCluster()
    assert.strictEqual(cluster.brokers.length, 1)
    assert(cluster.clusterId)
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
    assert.strictEqual(topics[0].partitions.length, 3)
  },
  async 'topic-create'() {
    const topic = await create('created', 4, { 'retention.ms': '1234567' })
    assert((await admin.listTopics()).includes(topic))
    assert.strictEqual(await admin.createTopics({ topics: [{ topic, replicationFactor: 1 }] }), false)
    assert(await admin.createTopics({ topics: [{ topic: 'js-defaults' }] }))
    await admin.createTopics({ validateOnly: true, waitForLeaders: false, topics: [{ topic: 'js-imagined', replicationFactor: 1 }] })
    assert(!(await admin.listTopics()).includes('js-imagined'))
  },
  async 'topic-delete'() {
    const topic = await create('deleted')
    await send(topic, [{ value: 'v' }])
    await admin.deleteTopics({ topics: [topic] })
    assert(!(await admin.listTopics()).includes(topic))
    await refused('UNKNOWN_TOPIC_OR_PARTITION', () => admin.deleteTopics({ topics: [topic] }))
    await create('deleted')
    assert.strictEqual((await admin.fetchTopicOffsets(topic))[0].high, '0')
  },
  async partitions() {
    const topic = await create('grown')
    await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] })
    assert.strictEqual((await send(topic, [{ value: 'v', partition: 2 }]))[0].partition, 2)
    await refused('INVALID_PARTITIONS', () => admin.createPartitions({ topicPartitions: [{ topic, count: 2 }] }))
  },
  async 'config-read'() {
    const topic = await create('config', 1, { 'retention.ms': '5000000' })
    assert.strictEqual((await config(ConfigResourceTypes.TOPIC, topic))['retention.ms'], '5000000')
    const id = (await admin.describeCluster()).brokers[0].nodeId
    assert.strictEqual((await config(ConfigResourceTypes.BROKER, String(id)))['default.replication.factor'], '1')
  },
  async 'config-change'() {
    const name = await create('changed')
    const alter = text => admin.alterConfigs({ validateOnly: false,
      resources: [{ type: ConfigResourceTypes.TOPIC, name, configEntries: [{ name: 'retention.ms', value: text }] }] })
    await alter('777')
    assert.strictEqual((await config(ConfigResourceTypes.TOPIC, name))['retention.ms'], '777')
    await refused('INVALID_CONFIG', () => alter('long'))
  },
  'codec-none': () => roundTrip('codec-none', {}),
  'codec-gzip': () => roundTrip('codec-gzip', { compression: CompressionTypes.GZIP }),
  'codec-snappy': () => roundTrip('codec-snappy', { compression: CompressionTypes.Snappy }),
  async 'codec-lz4'() { throw new Absent('there is no codec for it in the client') },
  async 'codec-zstd'() { throw new Absent('there is no codec for it in the client') },
  'acks-0': () => roundTrip('acks-0', { acks: 0 }),
  'acks-1': () => roundTrip('acks-1', { acks: 1 }),
  'acks-all': () => roundTrip('acks-all', { acks: -1 }),
  async headers() {
    const topic = await create('headers')
    await send(topic, [{ value: 'v', headers: { a: ['1', '2'], empty: '' } }])
    const { headers } = (await read(topic, 1))[0]
    assert.deepStrictEqual(headers.a.map(String), ['1', '2'])
    assert.strictEqual(String(headers.empty), '')
  },
  async timestamps() {
    const topic = await create('timestamps')
    await send(topic, [{ value: 'v', timestamp: '1234567890123' }])
    assert.strictEqual((await read(topic, 1))[0].timestamp, '1234567890123')
  },
  async 'append-time'() {
    const topic = await create('append-time', 1, { 'message.timestamp.type': 'LogAppendTime' })
    const before = Date.now()
    await send(topic, [{ value: 'v', timestamp: '1' }], { compression: CompressionTypes.GZIP })
    const { batchContext } = (await read(topic, 1))[0]
    assert(Number(batchContext.maxTimestamp) >= before)
    assert.strictEqual(batchContext.timestampType, 1)
  },
  async null() {
    const topic = await create('null')
    const pairs = [[null, 'v'], ['k', null], [null, null], ['', '']]
    await send(topic, pairs.map(([key, text]) => ({ key, value: text })))
    const got = await read(topic, 4)
    assert.deepStrictEqual(got.map(m => [m.key, m.value].map(b => b === null ? null : String(b))), pairs)
  },
  async large() {
    const topic = await create('large', 1, { 'max.message.bytes': '6000000' })
    const payload = crypto.randomBytes(5000000)
    await send(topic, [{ value: payload }])
    assert(payload.equals((await read(topic, 1))[0].value))
  },
  async 'too-large'() {
    const topic = await create('too-large', 1, { 'max.message.bytes': '1000' })
    await refused('MESSAGE_TOO_LARGE', () => send(topic, [{ value: Buffer.alloc(5000) }], {}, impatient))
    await send(topic, [{ value: 'small' }])
  },
  async assign() { throw new Absent('consumers are always members of a group') },
  async 'read-committed'() { await read(await numbered('read-committed'), 100, '0', 0, 1) },
  async offsets() {
    const [found] = await admin.fetchTopicOffsets(await numbered('offsets'))
    assert.deepStrictEqual([found.low, found.high], ['0', '100'])
  },
  async 'offsets-by-time'() {
    const topic = await numbered('by-time')
    // After the end this client answers with the end itself.
    for (const [at, offset] of [[1599999999999, '0'], [1600000041001, '42'], [1600000099000, '99'], [1700000000000, '100']]) {
      assert.strictEqual((await admin.fetchTopicOffsetsByTimestamp(topic, at))[0].offset, offset)
    }
  },
  async 'delete-records'() {
    const topic = await numbered('delete-records')
    await admin.fetchTopicOffsets(topic) // or the client does not know who leads the partition
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '30' }] })
    assert.strictEqual((await admin.fetchTopicOffsets(topic))[0].low, '30')
    assert.strictEqual((await read(topic, 70, '30'))[0].offset, '30')
  },
  async commit() {
    const topic = await numbered('commit', 2, 10)
    const groupId = 'js-standalone'
    const [before] = await admin.fetchOffsets({ groupId, topics: [topic] })
    assert(before.partitions.every(p => p.offset === '-1'))
    throw new Absent('offsets are set as a member of a group only')
  },
  async 'unknown-topic'() {
    await refused('UNKNOWN_TOPIC_OR_PARTITION', () => admin.fetchTopicMetadata({ topics: ['js-nowhere'] }))
    assert(!(await admin.listTopics()).includes('js-nowhere'))
  },
  async 'auto-create'() {
    await send('js-by-itself', [{ value: 'v' }])
    assert.strictEqual(String((await read('js-by-itself', 1))[0].value), 'v')
  },
  async 'bad-topic'() {
    for (const name of ['with space', 'x'.repeat(250), 'a/b']) {
      await refused('INVALID_TOPIC_EXCEPTION', () => create(name))
    }
    await refused('INVALID_REPLICATION_FACTOR', () => create('copies', 1, {}, { replicationFactor: 3 }))
    await refused('INVALID_CONFIG', () => create('odd', 1, { 'retention.ms': 'long' }))
  },
  async 'out-of-range'() {
    const topic = await create('out-of-range')
    await refused('OFFSET_OUT_OF_RANGE', () => read(topic, 1, '500'))
  },
  async restart() {
    const topic = await create('restart', 2)
    const acknowledged = await produceInterrupted(topic, [RESTART_COUNT / 4], {})
    for (const [where, text] of await readBoth(topic)) {
      if (acknowledged.has(where)) assert.strictEqual(text, value(acknowledged.get(where)))
      acknowledged.delete(where)
    }
    assert.strictEqual(acknowledged.size, 0, 'acknowledged and not there')
  },
  async once() {
    const topic = await create('once', 2)
    const kills = [RESTART_COUNT / 4, RESTART_COUNT / 2, RESTART_COUNT * 3 / 4]
    const acknowledged = await produceInterrupted(topic, kills, { idempotent: true, maxInFlightRequests: 1 })
    const found = await readBoth(topic)
    assert.strictEqual(found.size, RESTART_COUNT, 'records in the topic')
    for (const [where, text] of found) {
      const [partition, offset] = where.split('/').map(Number)
      const i = Math.floor(offset / 20) * 40 + partition * 20 + offset % 20
      assert.strictEqual(text, value(i), `at ${where}`)
      assert.strictEqual(acknowledged.get(where), i, 'what was acknowledged there')
    }
  },
  async idempotent() {
    await send(await create('idempotent'), [{ value: 'v' }], {}, impatient, { idempotent: true, maxInFlightRequests: 1 })
  },
  async transaction() {
    const topic = await create('transaction')
    const producer = impatient.producer({ transactionalId: 'js-transaction', idempotent: true, maxInFlightRequests: 1 })
    await producer.connect()
    const transaction = await producer.transaction()
    await transaction.send({ topic, messages: [{ value: 'committed' }] })
    await transaction.commit()
    await producer.disconnect()
    await read(topic, 1)
  },
  async group() {
    const topic = await numbered('group', 2, 10)
    const consumer = impatient.consumer({ groupId: 'js-group', retry: { retries: 0 } })
    await consumer.connect()
    await consumer.subscribe({ topic, fromBeginning: true })
    let count = 0
    await consumer.run({ eachMessage: async () => { count++ } })
    for (let waited = 0; count < 20 && waited < 15000; waited += 100) await pause(100)
    await consumer.disconnect()
    assert.strictEqual(count, 20)
  },
  async 'group-next'() { throw new Absent('the client speaks the classic protocol only') },
}

async function main() {
  await admin.connect()
  for (const [name, run] of Object.entries(cases)) {
    if (wanted.length && !wanted.includes(name)) continue
    let outcome = 'ok'
    let reason = ''
    try {
      await Promise.race([run(), pause(60000).then(() => { throw new Error('no end after 60 s') })])
    } catch (error) {
      outcome = error instanceof Absent ? 'absent' : 'fail'
      reason = String(error.message || error).replace(/\s+/g, ' ').slice(0, 300)
      if (process.env.COMPAT_TRACE) console.error(error)
    }
    console.log(`${name}\t${outcome}\t${reason}`)
  }
  process.exit(0)
}

main()
