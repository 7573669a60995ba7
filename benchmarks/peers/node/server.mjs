// Segment's own engine behind Node's http: a gateway that answers when the records are delivered.
//
// Its last argument: {"sink": URL, "settings": {...}}.  It prints its address.

import http from 'node:http'
import { gunzipSync } from 'node:zlib'

import { crossFetch, newEngine } from './engine.mjs'

const { sink, settings } = JSON.parse(process.argv.at(-1))

async function fetch(request) {
  const { pathname, search } = new URL(request.url)
  return crossFetch(sink + pathname + search, {
    method: request.method,
    headers: request.headers,
    body: await request.text(),
  })
}

const inBatches = newEngine(settings, 'segment', fetch)

function answer(response, status, body) {
  const text = JSON.stringify(body)
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': text.length })
  response.end(text)
}

const server = http.createServer((request, response) => {
  const chunks = []
  request.on('data', (chunk) => chunks.push(chunk))
  request.on('end', async () => {
    try {
      const raw = Buffer.concat(chunks)
      const payload = JSON.parse(request.headers['content-encoding'] === 'gzip' ? gunzipSync(raw) : raw)
      await inBatches(payload.batch ?? [payload])
      answer(response, 200, { success: true })
    } catch (error) {
      answer(response, 500, { success: false, message: String(error) })
    }
  })
})
server.keepAliveTimeout = 600_000
server.listen(0, '127.0.0.1', () => console.log(`segment: http://127.0.0.1:${server.address().port}`))
process.on('SIGTERM', () => process.exit(0))
