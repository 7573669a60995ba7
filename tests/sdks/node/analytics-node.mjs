// Sends the events of a job with @segment/analytics-node.

import { Analytics } from "@segment/analytics-node";
import { dated, giveUp, job, keyOf, pause } from "./job.mjs";

const { gateway, writeKey, options } = job;
const analytics = new Analytics({ writeKey, host: gateway, ...options });

for (const { type, ...event } of job.events) {
  analytics[type](dated(event), (error) => error && giveUp(keyOf(event)));
  await pause();
}
await analytics.closeAndFlush();
