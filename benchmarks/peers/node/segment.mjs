// Segment's own engine as a case of the benchmarks: measure.py tells what it is told and says.
//
// For each body: parse it, run the destination's presets on its events, and build the requests.
// Nothing here can open a connection.

import { readFileSync, readSync, writeFileSync } from 'node:fs'
import net from 'node:net'

import { crossFetch, newEngine } from './engine.mjs'

const task = JSON.parse(process.argv.at(-1))

net.Socket.prototype.connect = () => {
  throw new Error('a benchmark must not open connections')
}

let sent = null // when checked: the requests, to be written as answers
const answer = { headers: { 'content-type': 'application/json' } }
async function fetch(request) {
  if (sent !== null) sent.push([request.url, await request.text()])
  return new crossFetch.Response('{"code":200,"status":"OK"}', answer)
}

const engine = newEngine(task.settings, task.case, fetch)
const map = (body) => engine(JSON.parse(body).batch)

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
