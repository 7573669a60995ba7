import { jitsuAnalytics } from "@jitsu/js";

export function start({ gateway, writeKey }) {
  let error = null;
  const options = { errorPolicy: (message) => (error = message) };
  const analytics = jitsuAnalytics({ host: gateway, writeKey, ...options });
  const call = ({ type, ...event }) => {
    switch (type) {
      case "track":
        return analytics.track(event.event, event.properties);
      case "page":
        return analytics.page(event.name, event.properties);
      case "identify":
        return analytics.identify(event.userId, event.traits);
      case "group":
        return analytics.group(event.groupId, event.traits);
    }
  };
  // One after the other, to know which of them failed.
  let last = Promise.resolve();
  return (event) =>
    (last = last.then(async () => {
      error = null;
      await call(event);
      if (error) await window.giveUp(String(event.properties?.n ?? event.userId));
    }));
}
