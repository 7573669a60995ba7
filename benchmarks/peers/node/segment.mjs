// Segment's own engine as a case of the benchmarks: measure.py tells what it is told and says.
//
// For each body: parse it, run the destination's presets on its events, and build the requests.
// Only fetch, the engine's outermost layer, is replaced; nothing here can open a connection.

import { readFileSync, readSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import net from 'node:net'

const require = createRequire(import.meta.url)
const task = JSON.parse(process.argv.at(-1))
const { token, source_name: sourceName, client_ip: clientIp } = task.settings

net.Socket.prototype.connect = () => {
  throw new Error('a benchmark must not open connections')
}

let sent = null // when checked: the requests, to be written as answers
const crossFetch = require('cross-fetch')
const answer = { headers: { 'content-type': 'application/json' } }
async function fetch(request) {
  if (sent !== null) sent.push([request.url, await request.text()])
  return new crossFetch.Response('{"code":200,"status":"OK"}', answer)
}
require.cache[require.resolve('cross-fetch')].exports = Object.assign(fetch, crossFetch, { fetch, default: fetch })

const { Destination } = require('@segment/actions-core')
const mixpanel = require('@segment/action-destinations/dist/destinations/mixpanel/index.js').default
const destination = new Destination(mixpanel)

const settings = { projectToken: token, apiSecret: token, apiRegion: 'US 🇺🇸', sourceName, strictMode: '1' }
const takesBatches = (preset) => mixpanel.actions[preset.partnerAction].performBatch !== undefined
const all = { ...settings, subscriptions: mixpanel.presets }
const inBatches = { ...settings, subscriptions: mixpanel.presets.filter(takesBatches) }
const notInBatches = { ...settings, subscriptions: mixpanel.presets.filter((preset) => !takesBatches(preset)) }

async function map(body) {
  const events = JSON.parse(body).batch
  // What is done to events before they reach the engine; without it, their records had no ip.
  for (const event of events) event.context.ip ??= clientIp
  if (task.case === 'segment') {
    await destination.onBatch(events, inBatches)
    for (const event of events) {
      // Other events are not even shown to the actions that take no batches.
      if (event.type === 'identify' || event.type === 'group') await destination.onEvent(event, notInBatches)
    }
  } else {
    for (const event of events) await destination.onEvent(event, all)
  }
  destination.responses.length = 0
}

function records([url, body]) {
  const { pathname } = new URL(url)
  const data = pathname === '/import' ? JSON.parse(body) : [JSON.parse(new URLSearchParams(body).get('data'))]
  return data.map((record) => JSON.stringify([pathname.slice(1), record]))
}

const bodies = readFileSync(task.corpus, 'latin1').split('\n').map((line) => Buffer.from(line, 'latin1'))

sent = []
for (const body of bodies) await map(body)
writeFileSync(task.answers, sent.flatMap(records).join('\n'))
sent = null
process.stdout.write('ready\n')
if (readSync(0, Buffer.alloc(16)) === 0) process.exit()

async function cpuMicroseconds(passes) {
  const before = process.cpuUsage()
  for (let pass = 0; pass < passes; pass++) {
    for (const body of bodies) await map(body)
  }
  const { user, system } = process.cpuUsage(before)
  return user + system
}

// The compiler in Node takes long to settle.
let onePass
let warmUp = 0
do {
  onePass = await cpuMicroseconds(1)
  warmUp += onePass
} while (warmUp < 4e6 * task.seconds)
const passes = Math.max(1, Math.round((task.seconds * 1e6) / onePass))
for (let repetition = 0; repetition < task.repetitions; repetition++) {
  const spent = await cpuMicroseconds(passes)
  process.stdout.write(`${spent / (passes * task.events)}\n`)
}
