// Sends the events of a job with mixpanel; with the argument "batches", tracks 20 at once.

import Mixpanel from "mixpanel";
import { giveUp, job, keyOf, pause } from "./job.mjs";

const { host, token, options } = job;
const mixpanel = Mixpanel.init(token, { host, ...options });

const AT_ONCE = 20;
const isBatching = process.argv[2] === "batches";
const properties = ({ userId, properties }) => ({ distinct_id: userId, ...properties });
const calls = {
  track: (event, done) => mixpanel.track(event.event, properties(event), done),
  identify: ({ userId, traits }, done) => mixpanel.people.set(userId, traits, done),
  group: ({ groupId, traits }, done) => mixpanel.groups.set("company", groupId, traits, done),
};

const open = [];
const settle = (call, events) =>
  open.push(new Promise(call).then((error) => error && events.forEach((each) => giveUp(keyOf(each)))));

let batch = [];
const flush = () => {
  const events = batch;
  batch = [];
  const list = events.map((event) => ({ event: event.event, properties: properties(event) }));
  settle((done) => mixpanel.track_batch(list, (errors) => done(errors?.[0])), events);
};

for (const event of job.events) {
  if (isBatching && event.type === "track") batch.push(event);
  else settle((done) => calls[event.type](event, done), [event]);
  if (batch.length === AT_ONCE) flush();
  await pause();
}
if (batch.length > 0) flush();
await Promise.all(open);
