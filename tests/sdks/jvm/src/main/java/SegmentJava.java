import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.ToNumberPolicy;
import com.segment.analytics.Analytics;
import com.segment.analytics.Callback;
import com.segment.analytics.messages.AliasMessage;
import com.segment.analytics.messages.GroupMessage;
import com.segment.analytics.messages.IdentifyMessage;
import com.segment.analytics.messages.Message;
import com.segment.analytics.messages.MessageBuilder;
import com.segment.analytics.messages.PageMessage;
import com.segment.analytics.messages.ScreenMessage;
import com.segment.analytics.messages.TrackMessage;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.OffsetDateTime;
import java.util.Date;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;

/**
 * Sends the events of a job (JSON on standard input) with analytics-java. Prints a JSON line for
 * each event that the SDK gave up.
 */
public final class SegmentJava {
  private static final Gson GSON =
      new GsonBuilder().setObjectToNumberStrategy(ToNumberPolicy.LONG_OR_DOUBLE).create();

  private static final class Job {
    String gateway;
    String writeKey;
    int pauseMs;
    Map<String, Integer> options;
    List<Event> events;
  }

  private static final class Event {
    String type;
    String event;
    String name;
    String messageId;
    String userId;
    String anonymousId;
    String previousId;
    String groupId;
    String timestamp;
    Map<String, Object> context;
    Map<String, Object> properties;
    Map<String, Object> traits;

    MessageBuilder<?, ?> message() {
      MessageBuilder<?, ?> message =
          switch (type) {
            case "track" -> TrackMessage.builder(event).properties(properties);
            case "page" -> PageMessage.builder(name).properties(properties);
            case "screen" -> ScreenMessage.builder(name).properties(properties);
            case "identify" -> IdentifyMessage.builder().traits(traits);
            case "group" -> GroupMessage.builder(groupId).traits(traits);
            case "alias" -> AliasMessage.builder(previousId);
            default -> throw new IllegalArgumentException(type);
          };
      message.context(context);
      if (messageId != null) message.messageId(messageId);
      if (userId != null) message.userId(userId);
      if (anonymousId != null) message.anonymousId(anonymousId);
      if (timestamp != null) {
        message.timestamp(Date.from(OffsetDateTime.parse(timestamp).toInstant()));
      }
      return message;
    }
  }

  public static void main(String[] arguments) throws InterruptedException {
    Job job =
        GSON.fromJson(new InputStreamReader(System.in, StandardCharsets.UTF_8), Job.class);
    String writeKey = job.writeKey;
    String gateway = job.gateway;
    CountDownLatch open = new CountDownLatch(job.events.size());
    Analytics.Builder builder = Analytics.builder(writeKey).endpoint(gateway);
    builder.callback(
        new Callback() {
          @Override
          public void success(Message message) {
            open.countDown();
          }

          @Override
          public void failure(Message message, Throwable error) {
            String key = message.userId() != null ? message.userId() : message.anonymousId();
            System.out.println(GSON.toJson(Map.of("givenUp", key)));
            open.countDown();
          }
        });
    if (job.options.containsKey("flushQueueSize")) {
      builder.flushQueueSize(job.options.get("flushQueueSize"));
    }
    Analytics analytics = builder.build();
    for (Event event : job.events) {
      analytics.enqueue(event.message());
      Thread.sleep(job.pauseMs);
    }
    analytics.flush();
    open.await();
    analytics.shutdown();
    System.exit(0); // threads of the HTTP client linger
  }
}
