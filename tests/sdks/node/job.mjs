// What all programs here share: the job on standard input, its pace, and telling what was given up.

import { readFileSync } from "node:fs";

export const job = JSON.parse(readFileSync(0, "utf8"));

export const pause = () =>
  job.pauseMs && new Promise((resolve) => setTimeout(resolve, job.pauseMs));

export const keyOf = ({ userId, anonymousId }) => userId ?? anonymousId;

export const giveUp = (key) => console.log(JSON.stringify({ givenUp: key }));

export const dated = ({ timestamp, ...event }) =>
  timestamp ? { ...event, timestamp: new Date(timestamp) } : event;
