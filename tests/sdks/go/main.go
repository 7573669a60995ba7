// Sends the events of a job (JSON on standard input) with analytics-go.
// Prints a JSON line for each event that the SDK gave up.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"reflect"
	"sync"
	"time"

	"github.com/segmentio/analytics-go/v3"
)

type job struct {
	Gateway  string
	WriteKey string
	PauseMs  int
	Options  struct{ BatchSize int }
	Events   []event
}

type event struct {
	Type        string
	Event       string
	Name        string
	MessageID   string `json:"messageId"`
	UserID      string `json:"userId"`
	AnonymousID string `json:"anonymousId"`
	PreviousID  string `json:"previousId"`
	GroupID     string `json:"groupId"`
	Timestamp   time.Time
	Context     map[string]any
	Properties  map[string]any
	Traits      map[string]any
}

// reports waits for what became of each message.
type reports struct{ open sync.WaitGroup }

func (r *reports) Success(analytics.Message) { r.open.Done() }

func (r *reports) Failure(message analytics.Message, _ error) {
	fields := reflect.ValueOf(message)
	key := fields.FieldByName("UserId").String()
	if key == "" {
		key = fields.FieldByName("AnonymousId").String()
	}
	line, _ := json.Marshal(map[string]string{"givenUp": key})
	fmt.Println(string(line))
	r.open.Done()
}

func main() {
	var job job
	if err := json.NewDecoder(os.Stdin).Decode(&job); err != nil {
		log.Fatal(err)
	}
	writeKey, gateway, reports := job.WriteKey, job.Gateway, new(reports)
	config := analytics.Config{Endpoint: gateway}
	config.BatchSize = job.Options.BatchSize
	config.Interval = 100 * time.Millisecond
	config.Callback = reports
	client, err := analytics.NewWithConfig(writeKey, config)
	if err != nil {
		log.Fatal(err)
	}
	for _, event := range job.Events {
		reports.open.Add(1)
		if err := client.Enqueue(event.message()); err != nil {
			log.Fatal(err)
		}
		time.Sleep(time.Duration(job.PauseMs) * time.Millisecond)
	}
	// Close would drop what is being retried.
	reports.open.Wait()
	if err := client.Close(); err != nil {
		log.Fatal(err)
	}
}

func (e event) message() analytics.Message {
	context := &analytics.Context{Extra: e.Context}
	switch e.Type {
	case "track":
		return analytics.Track{MessageId: e.MessageID, AnonymousId: e.AnonymousID, UserId: e.UserID,
			Event: e.Event, Timestamp: e.Timestamp, Context: context, Properties: e.Properties}
	case "page":
		return analytics.Page{MessageId: e.MessageID, AnonymousId: e.AnonymousID, UserId: e.UserID,
			Name: e.Name, Timestamp: e.Timestamp, Context: context, Properties: e.Properties}
	case "screen":
		return analytics.Screen{MessageId: e.MessageID, AnonymousId: e.AnonymousID, UserId: e.UserID,
			Name: e.Name, Timestamp: e.Timestamp, Context: context, Properties: e.Properties}
	case "identify":
		return analytics.Identify{MessageId: e.MessageID, AnonymousId: e.AnonymousID, UserId: e.UserID,
			Timestamp: e.Timestamp, Context: context, Traits: e.Traits}
	case "group":
		return analytics.Group{MessageId: e.MessageID, AnonymousId: e.AnonymousID, UserId: e.UserID,
			GroupId: e.GroupID, Timestamp: e.Timestamp, Context: context, Traits: e.Traits}
	case "alias":
		return analytics.Alias{MessageId: e.MessageID, PreviousId: e.PreviousID, UserId: e.UserID,
			Timestamp: e.Timestamp, Context: context}
	default:
		log.Fatalf("unknown type: %q", e.Type)
		return nil
	}
}
