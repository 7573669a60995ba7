import mixpanel from "mixpanel-browser";

export function start({ gateway, token, options }) {
  mixpanel.init(token, { api_host: gateway, ...options });
  return ({ type, ...event }) => {
    switch (type) {
      case "track":
        return mixpanel.track(event.event, event.properties);
      case "identify":
        mixpanel.identify(event.userId);
        return mixpanel.people.set(event.traits);
      case "group":
        return mixpanel.get_group("company", event.groupId).set(event.traits);
    }
  };
}
