import com.segment.analytics.kotlin.core.Analytics
import com.segment.analytics.kotlin.core.BaseEvent
import com.segment.analytics.kotlin.core.platform.Plugin
import com.segment.analytics.kotlin.core.platform.policies.CountBasedFlushPolicy
import com.segment.analytics.kotlin.core.platform.policies.FrequencyFlushPolicy
import java.util.concurrent.CountDownLatch
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.int
import kotlinx.serialization.json.jsonArray
import kotlinx.serialization.json.jsonObject
import kotlinx.serialization.json.jsonPrimitive

/** Sends the events of a job (JSON on standard input) with analytics-kotlin, and waits until none is left. */
fun main() {
    val job = Json.parseToJsonElement(System.`in`.reader().readText()).jsonObject
    fun JsonObject.text(name: String) = getValue(name).jsonPrimitive.content

    val writeKey = job.text("writeKey")
    val host = job.text("host")
    val analytics = Analytics(writeKey) {
        application = "sdks"
        apiHost = "$host/v1"
        cdnHost = "$host/v1"
        flushPolicies = listOf(CountBasedFlushPolicy(5), FrequencyFlushPolicy(500))
    }
    val events = job.getValue("events").jsonArray
    val taken = CountDownLatch(events.size)
    analytics.add(After { taken.countDown() })
    for (each in events) {
        val event = each.jsonObject
        when (val type = event.text("type")) {
            "track" -> analytics.track(event.text("event"), event.getValue("properties").jsonObject)
            "screen" -> analytics.screen(event.text("name"), event.getValue("properties").jsonObject)
            "identify" -> analytics.identify(event.text("userId"), event.getValue("traits").jsonObject)
            "group" -> analytics.group(event.text("groupId"), event.getValue("traits").jsonObject)
            else -> error("unknown type: $type")
        }
        Thread.sleep(job.getValue("pauseMs").jsonPrimitive.int.toLong())
    }
    taken.await()
    var idle = 0
    while (idle < 5) {
        analytics.flush()
        Thread.sleep(200)
        idle = if (analytics.pendingUploads().isEmpty()) idle + 1 else 0
    }
    System.exit(0) // threads of the SDK linger
}

private class After(val take: () -> Unit) : Plugin {
    override val type = Plugin.Type.After
    override lateinit var analytics: Analytics

    override fun execute(event: BaseEvent): BaseEvent = event.also { take() }
}
