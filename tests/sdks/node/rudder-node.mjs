// Sends the events of a job with @rudderstack/rudder-sdk-node.

import RudderAnalytics from "@rudderstack/rudder-sdk-node";
import { dated, giveUp, job, keyOf, pause } from "./job.mjs";

const { gateway, writeKey, options } = job;
const analytics = new RudderAnalytics(writeKey, { dataPlaneUrl: gateway, ...options });

const open = [];
for (const { type, ...event } of job.events) {
  const sent = new Promise((resolve) => analytics[type](dated(event), resolve));
  open.push(sent.then((error) => error && giveUp(keyOf(event))));
  await pause();
}
// Promises of flush() say nothing about events that another flush took.
await Promise.all(open);
