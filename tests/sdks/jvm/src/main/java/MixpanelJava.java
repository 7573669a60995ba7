import com.mixpanel.mixpanelapi.ClientDelivery;
import com.mixpanel.mixpanelapi.MessageBuilder;
import com.mixpanel.mixpanelapi.MixpanelAPI;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.json.JSONObject;
import org.json.JSONTokener;

/**
 * Sends the events of a job (JSON on standard input) with mixpanel-java: one by one, or all at once
 * without a pause. Prints a JSON line for each event that the SDK gave up.
 */
public final class MixpanelJava {
  public static void main(String[] arguments) throws Exception {
    JSONObject job =
        new JSONObject(new JSONTokener(new java.io.InputStreamReader(System.in, StandardCharsets.UTF_8)));
    String token = job.getString("token");
    String gateway = job.getString("gateway");
    MixpanelAPI mixpanel =
        new MixpanelAPI(gateway + "/track", gateway + "/engage", gateway + "/groups", gateway + "/import");
    MessageBuilder messages = new MessageBuilder(token);
    int pauseMs = job.getInt("pauseMs");
    ClientDelivery all = new ClientDelivery();
    for (Object each : job.getJSONArray("events")) {
      JSONObject event = (JSONObject) each;
      JSONObject message = message(messages, event);
      if (pauseMs == 0) {
        all.addMessage(message);
        continue;
      }
      try {
        mixpanel.sendMessage(message);
      } catch (IOException error) {
        System.out.println(new JSONObject(Map.of("givenUp", event.getString("userId"))));
      }
      Thread.sleep(pauseMs);
    }
    if (pauseMs == 0) mixpanel.deliver(all);
  }

  private static JSONObject message(MessageBuilder messages, JSONObject event) {
    return switch (event.getString("type")) {
      case "track" ->
          messages.event(
              event.getString("userId"), event.getString("event"), event.getJSONObject("properties"));
      case "identify" -> messages.set(event.getString("userId"), event.getJSONObject("traits"));
      case "group" ->
          messages.groupSet("company", event.getString("groupId"), event.getJSONObject("traits"));
      default -> throw new IllegalArgumentException(event.getString("type"));
    };
  }
}
