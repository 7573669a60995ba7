// Segment's own engine with its Mixpanel destination.
//
// Only fetch, the engine's outermost layer, is replaced: by what is given.

import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)

export const crossFetch = require('cross-fetch')

// Returns the mapping of events to requests; "segment" shows them to the engine in batches,
// anything else one by one.
export function newEngine({ token, source_name: sourceName, client_ip: clientIp }, how, fetch) {
  require.cache[require.resolve('cross-fetch')].exports = Object.assign(fetch, crossFetch, { fetch, default: fetch })
  const { Destination } = require('@segment/actions-core')
  const mixpanel = require('@segment/action-destinations/dist/destinations/mixpanel/index.js').default
  const destination = new Destination(mixpanel)

  const settings = { projectToken: token, apiSecret: token, apiRegion: 'US 🇺🇸', sourceName, strictMode: '1' }
  const takesBatches = (preset) => mixpanel.actions[preset.partnerAction].performBatch !== undefined
  const all = { ...settings, subscriptions: mixpanel.presets }
  const inBatches = { ...settings, subscriptions: mixpanel.presets.filter(takesBatches) }
  const notInBatches = { ...settings, subscriptions: mixpanel.presets.filter((preset) => !takesBatches(preset)) }

  return async function map(events) {
    // What is done to events before they reach the engine; without it, their records had no ip.
    for (const event of events) event.context.ip ??= clientIp
    if (how === 'segment') {
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
}
