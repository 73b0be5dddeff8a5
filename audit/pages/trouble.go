package pages

import (
	"io"
	"net/http"

	"github.com/attestor-gate/attestor/internal/page"
)

// A Trouble is an error that a page answers with: what is wrong and what to do, in public words.
type Trouble struct {
	Status      int // of HTTP
	Detail, Fix string
	RequestID   string // by which the gate's log has it; "" where nobody needs to look there
}

// Problem renders a trouble.
func (r *Renderer) Problem(w io.Writer, t Trouble) error {
	title := troubleTitle(t.Status)

	return r.render(w, "problem", struct {
		Head  page.Head
		Title string
		Ours  bool // the gate's operators should look
		Trouble
	}{page.Head{Title: title, Nav: page.Nav(""), Foot: foot}, title, t.Status >= http.StatusInternalServerError, t})
}

// troubleTitle says what a status means to whoever reads the page.
func troubleTitle(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "This cannot be answered as it was asked"
	case http.StatusUnauthorized:
		return "You are not signed in"
	case http.StatusForbidden:
		return "You may not see this"
	case http.StatusNotFound:
		return "There is nothing here"
	case http.StatusTooManyRequests:
		return "Too many requests at once"
	case http.StatusNotImplemented:
		return "This gate is not set up for that"
	case http.StatusBadGateway, http.StatusServiceUnavailable:
		return "This cannot be answered now"
	case http.StatusInternalServerError:
		return "Something is wrong in the gate"
	}
	return http.StatusText(status)
}
