import { AnalyticsBrowser } from "@segment/analytics-next";

export function start({ gateway, writeKey, options }) {
  const analytics = AnalyticsBrowser.load({ writeKey, cdnURL: gateway }, options);
  return ({ type, ...event }) => {
    switch (type) {
      case "track":
        return analytics.track(event.event, event.properties, { timestamp: event.timestamp });
      case "page":
        return analytics.page(event.name, event.properties);
      case "identify":
        return analytics.identify(event.userId, event.traits);
      case "group":
        return analytics.group(event.groupId, event.traits);
    }
  };
}
