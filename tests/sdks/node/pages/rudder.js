import { RudderAnalytics } from "@rudderstack/analytics-js/bundled";

export function start({ gateway, writeKey, options }) {
  const analytics = new RudderAnalytics();
  analytics.load(writeKey, gateway, { configUrl: gateway, ...options });
  return ({ type, ...event }) => {
    switch (type) {
      case "track":
        return analytics.track(event.event, event.properties, event.timestamp && { originalTimestamp: event.timestamp });
      case "page":
        return analytics.page(event.name, event.properties);
      case "identify":
        return analytics.identify(event.userId, event.traits);
      case "group":
        return analytics.group(event.groupId, event.traits);
    }
  };
}
