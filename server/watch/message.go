package watch

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/strictjson"
)

// A push is the body of a Pub/Sub push.
type push struct {
	Message struct {
		Data        []byte            `json:"data"`
		Attributes  map[string]string `json:"attributes"`
		MessageID   string            `json:"messageId"`
		PublishTime time.Time         `json:"publishTime"`
	} `json:"message"`
	Subscription string `json:"subscription"`
}

// readMessage decodes a message. Pub/Sub and its publishers add fields and write null
// for what they leave out; names are exact, and duplicate names are errors.
func readMessage(b []byte, v any) error {
	return strictjson.Decode(b, v, strictjson.Rules{Unknown: true, Null: true})
}

// A kind of message. It is also a label of metrics.
type kind string

const (
	kindBuild      kind = "build"
	kindPush       kind = "push"
	kindOccurrence kind = "occurrence"
	kindRejudge    kind = "rejudge" // published by the gate itself, like sweep
	kindSweep      kind = "sweep"
	kindUnknown    kind = "unknown"
)

// A message is decoded as far as its kind requires.
type message struct {
	id         string
	kind       kind
	images     []attestor.Reference // of a build, a push or a sweep
	tag        string               // that the push set; "" for none
	occurrence string
	rejudge    work
	ignore     string // why there is nothing to do; "": there is
	unnamed    error  // of the first of its images that cannot be judged, beside others; nil: there is none
}

// work is a message of the gate to itself: take part in a run. Earlier versions
// wrote images and page tokens, and no run.
type work struct {
	Run string `json:"run"`
}

const (
	maxMessageID  = 128
	maxImages     = 100
	maxRun        = 128
	maxOccurrence = 512 // bytes of its name
)

var (
	occurrenceName = regexp.MustCompile(
		`^projects/[a-z0-9][a-z0-9.:-]*/(locations/[a-z0-9-]+/)?occurrences/[A-Za-z0-9][A-Za-z0-9._~%-]*$`,
	)
	messageID = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
)

// decodePush decodes the envelope. Its errors are of kind Invalid and are not
// acknowledged: Pub/Sub never sends a malformed envelope, so that something else
// called.
func decodePush(body []byte) (push, error) {
	const fix = "call this by a push subscription without payload unwrapping"
	var p push
	if err := readMessage(body, &p); err != nil {
		return push{}, &attestor.Error{
			Kind: attestor.Invalid,
			Msg:  "the body is not a Pub/Sub push message",
			Fix:  fix,
			Err:  err,
		}
	}

	// The id appears in the log, and so must not contain line breaks.
	if id := p.Message.MessageID; id == "" || len(id) > maxMessageID || !messageID.MatchString(id) {
		return push{}, &attestor.Error{
			Kind: attestor.Invalid,
			Msg:  "the push message has no id, or an invalid one",
			Fix:  fix,
		}
	}
	return p, nil
}

// classify decodes the message of a push by its kind. An error makes it poison: it
// cannot be handled, however often it is delivered.
func classify(p push) (message, error) {
	m := message{id: p.Message.MessageID, kind: kindUnknown}
	attributes := p.Message.Attributes

	var err error
	switch {
	case attributes[workAttribute] != "":
		m.kind = kindRejudge
		err = readMessage(p.Message.Data, &m.rejudge)
		switch run := m.rejudge.Run; {
		case err != nil:
		case run == "":
			m.ignore = "a version before published it, and the next run covers it"
		case len(run) > maxRun:
			err = errors.New("the message is not one that the gate publishes")
		}
	case attributes[sweepAttribute] != "":
		m.kind = kindSweep
		err = m.sweep(p.Message.Data)
	case attributes["buildId"] != "" && attributes["status"] != "":
		m.kind = kindBuild
		err = m.build(p.Message.Data)
	default:
		err = m.notification(p.Message.Data)
	}
	return m, err
}

// workAttribute marks the gate's own messages.
const workAttribute = "attestor.rejudge"

// build decodes a message of Cloud Build. Its images are those that a build
// reports to have pushed, once it succeeded.
func (m *message) build(data []byte) error {
	var b struct {
		Status  string `json:"status"`
		Results struct {
			Images []struct {
				Name   string `json:"name"`
				Digest string `json:"digest"`
			} `json:"images"`
		} `json:"results"`
	}

	if err := readMessage(data, &b); err != nil {
		return err
	}
	if b.Status != "SUCCESS" {
		m.ignore = "the build has not succeeded"
		return nil
	}
	if n := len(b.Results.Images); n > maxImages {
		return fmt.Errorf("the build has %d images, at most %d are judged", n, maxImages)
	}

	// A build may push one digest under many tags. An image that cannot be judged, such as one without a digest, takes
	// nothing from the others.
	known := map[string]bool{}
	for _, i := range b.Results.Images {
		ref, err := attestor.ParseReference(i.Name + "@" + i.Digest)
		if err != nil {
			m.unnamed = cmp.Or(m.unnamed, err)
			continue
		}
		if !known[ref.String()] {
			known[ref.String()] = true
			m.images = append(m.images, ref)
		}
	}

	if len(m.images) == 0 && m.unnamed == nil {
		m.ignore = "the build names no images"
	} else if len(m.images) == 0 {
		return m.unnamed
	}
	return nil
}

// notification decodes a message of Artifact Registry or Container Analysis.
func (m *message) notification(data []byte) error {
	var n struct {
		Action string `json:"action"`
		Digest string `json:"digest"`
		Tag    string `json:"tag"`
		Name   string `json:"name"`
		Kind   string `json:"kind"`
	}

	if err := readMessage(data, &n); err != nil {
		return err
	}
	switch {
	case n.Action != "":
		m.kind = kindPush
		return m.push(n.Action, n.Digest, n.Tag)
	case n.Name != "" && n.Kind != "":
		m.kind = kindOccurrence
		if n.Kind != "DISCOVERY" && n.Kind != "VULNERABILITY" && n.Kind != "SECRET" {
			m.ignore = "the occurrence is neither a discovery, a vulnerability nor a secret"
			return nil
		}

		// The name becomes part of the path of a call of the API, and must not lead
		// that anywhere else.
		if len(n.Name) > maxOccurrence || !occurrenceName.MatchString(n.Name) {
			return errors.New("the name is not that of an occurrence")
		}
		m.occurrence = n.Name
		return nil
	}
	return errors.New("the message is of an unknown kind")
}

// push takes over the image of a push. It must be by digest: a tag may have moved
// since the message was sent.
func (m *message) push(action, digest, tag string) error {
	switch {
	case action != "INSERT":
		m.ignore = "the message is not about a push"
		return nil
	case digest == "":
		m.ignore = "the push set a tag and has no digest"
		return nil
	}

	ref, err := attestor.ParseReference(digest)
	if err != nil {
		return err
	}
	if _, pinned := ref.Pinned(); !pinned {
		return errors.New("digest is not a reference by digest")
	}

	m.images = []attestor.Reference{ref}
	if i := strings.LastIndex(tag, ":"); i >= 0 {
		m.tag = tag[i+1:]
	}
	return nil
}
