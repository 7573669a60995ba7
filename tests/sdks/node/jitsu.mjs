// Sends the events of a job with @jitsu/js, from a server.

import { jitsuAnalytics } from "@jitsu/js";
import { giveUp, job, pause } from "./job.mjs";

const { gateway, writeKey } = job;
let error = null;
const options = { s2s: true, errorPolicy: (message) => (error = message) };
const analytics = jitsuAnalytics({ host: gateway, writeKey, ...options });

const calls = {
  track: ({ event, properties }) => analytics.track(event, properties),
  page: ({ name, properties }) => analytics.page(name, properties),
  identify: ({ userId, traits }) => analytics.identify(userId, traits),
  group: ({ groupId, traits }) => analytics.group(groupId, traits),
};
for (const { type, ...event } of job.events) {
  error = null;
  await calls[type](event);
  if (error) giveUp(String(event.properties?.n ?? event.userId));
  await pause();
}
