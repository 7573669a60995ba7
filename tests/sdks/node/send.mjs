// Sends the events of a job (JSON on standard input) with @segment/analytics-node.
// Prints each event's messageId and timestamp; exits with 1 when the SDK gave events up.

import { readFileSync } from "node:fs";
import { Analytics } from "@segment/analytics-node";

const job = JSON.parse(readFileSync(0, "utf8"));
const analytics = new Analytics({ host: job.url, writeKey: job.writeKey, ...job.options });

const problems = [];
analytics.on("error", (error) => problems.push(error));

const send = ({ type, timestamp, ...event }) =>
  new Promise((resolve) => {
    const at = timestamp ? { timestamp: new Date(timestamp) } : {};
    analytics[type]({ ...event, ...at }, (error, context) => {
      if (error) problems.push(error);
      resolve(context.event);
    });
  });

const sending = job.events.map(send);
await analytics.closeAndFlush();
for (const { messageId, timestamp } of await Promise.all(sending)) {
  console.log(JSON.stringify({ messageId, timestamp }));
}
if (problems.length > 0) {
  console.error(`given up: ${problems.length}, such as`, problems[0]);
  process.exitCode = 1;
}
