package watch

import (
	"errors"
	"regexp"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/strictjson"
)

// push is the body of a Pub/Sub push. Fields that it does not name may come
// with it; names are exact, and none may come twice.
type push struct {
	Message struct {
		Data        []byte            `json:"data"`
		Attributes  map[string]string `json:"attributes"`
		MessageID   string            `json:"messageId"`
		PublishTime time.Time         `json:"publishTime"`
	} `json:"message"`
	Subscription string `json:"subscription"`
}

// readMessage decodes messages. Their senders add fields and write null for what they
// leave out; names are exact all the same, and none may come twice.
func readMessage(b []byte, v any) error {
	return strictjson.Decode(b, v, strictjson.Rules{Unknown: true, Null: true})
}

// A kind of message, and the label of its metric.
type kind string

const (
	kindBuild      kind = "build"
	kindPush       kind = "push"
	kindOccurrence kind = "occurrence"
	kindRejudge    kind = "rejudge" // this gate's own
	kindUnknown    kind = "unknown"
)

// message is one, decoded as far as its kind goes.
type message struct {
	id         string
	kind       kind
	images     []attestor.Reference // of a build or a push
	tag        string               // that the push set; "" if it set none
	occurrence string
	rejudge    work
	ignore     string // why there is nothing to do
}

// work is what the gate publishes to itself: an image to be judged again, or
// the rest of a run.
type work struct {
	Image     string `json:"image,omitempty"`
	Decision  string `json:"decision,omitempty"`
	PageToken string `json:"pageToken,omitempty"`
	Revoked   int    `json:"revoked,omitempty"` // by the run so far
}

const (
	maxMessageID = 128
	maxImages    = 100
	maxPageToken = 4096
)

var (
	occurrenceName = regexp.MustCompile(`^projects/[a-z0-9][a-z0-9.:-]{0,127}/(locations/[a-z0-9-]{1,64}/)?occurrences/[A-Za-z0-9][A-Za-z0-9._~%-]{0,255}$`)
	messageID      = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
)

// decodePush reads the envelope. Pub/Sub never sends one that cannot be read,
// so that this is the caller's mistake.
func decodePush(body []byte) (push, error) {
	var p push
	if err := readMessage(body, &p); err != nil {
		return push{}, &attestor.Error{Kind: attestor.Invalid, Msg: "the body is not a Pub/Sub push message", Fix: "let a push subscription without payload unwrapping call this", Err: err}
	}
	if id := p.Message.MessageID; id == "" || len(id) > maxMessageID || !messageID.MatchString(id) {
		return push{}, &attestor.Error{Kind: attestor.Invalid, Msg: "the push message has no id", Fix: "let a push subscription without payload unwrapping call this"}
	}
	return p, nil
}

// classify finds out what a message is about. An error makes it poison: it
// will never be understood, however often it comes.
func classify(p push) (message, error) {
	m := message{id: p.Message.MessageID, kind: kindUnknown}
	attributes := p.Message.Attributes
	var err error
	switch {
	case attributes[workAttribute] != "":
		m.kind = kindRejudge
		if err = readMessage(p.Message.Data, &m.rejudge); err == nil && (len(m.rejudge.PageToken) > maxPageToken || m.rejudge.Revoked < 0) {
			err = errors.New("the gate does not write such messages to itself")
		}
	case attributes["buildId"] != "" && attributes["status"] != "":
		m.kind = kindBuild
		err = m.build(p.Message.Data)
	default:
		err = m.notification(p.Message.Data)
	}
	return m, err
}

const workAttribute = "attestor.rejudge"

// build reads Cloud Build's: only what a build says that it pushed, and only
// once it succeeded.
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
		m.ignore = "the build did not succeed, or not yet"
		return nil
	}
	if len(b.Results.Images) > maxImages {
		return errors.New("the build has too many images")
	}
	known := map[string]bool{}
	for _, i := range b.Results.Images {
		ref, err := attestor.ParseReference(i.Name + "@" + i.Digest)
		if err != nil {
			return err
		}
		if !known[ref.String()] { // one digest may have been pushed under many tags
			known[ref.String()] = true
			m.images = append(m.images, ref)
		}
	}
	if len(m.images) == 0 {
		m.ignore = "the build names no images"
	}
	return nil
}

// notification reads the registry's and Container Analysis's.
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
		if n.Kind != "DISCOVERY" && n.Kind != "VULNERABILITY" {
			m.ignore = "an occurrence of another kind"
			return nil
		}
		if !occurrenceName.MatchString(n.Name) {
			return errors.New("that is no occurrence's name")
		}
		m.occurrence = n.Name
		return nil
	}
	return errors.New("no message of a kind that is known")
}

func (m *message) push(action, digest, tag string) error {
	switch {
	case action != "INSERT":
		m.ignore = "not a push"
		return nil
	case digest == "":
		m.ignore = "a tag without a digest"
		return nil
	}

	ref, err := attestor.ParseReference(digest)
	if err != nil {
		return err
	}
	if _, pinned := ref.Pinned(); !pinned {
		return errors.New("the digest is none")
	}

	m.images = []attestor.Reference{ref}
	if i := strings.LastIndex(tag, ":"); i >= 0 {
		m.tag = tag[i+1:]
	}
	return nil
}
