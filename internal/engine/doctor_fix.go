package engine

import (
	"slices"

	"google.golang.org/grpc/codes"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/cause"
)

// granted is the error of a permission that is not among those held, or that could not be asked for.
func granted(held []string, permission, on, role string, err error) error {
	if err != nil {
		return permitted(on, role+" on "+on, err)
	}
	if slices.Contains(held, permission) {
		return nil
	}
	return &attestor.Error{
		Kind: attestor.Upstream, Msg: "this identity does not have " + permission + " on " + on,
		Fix: "grant the gate's identity " + role + " on " + on,
	}
}

// permitted explains an error of one of Google's services about what; role, with its resource, is what the call takes.
func permitted(what, role string, err error) error {
	if err == nil {
		return nil
	}

	e := &attestor.Error{Kind: attestor.Upstream, Msg: what + " could not be looked up", Fix: "try again", Err: err}

	// Without credentials, or with a service that is switched off, no role helps.
	if because := cause.Of(err); because.Fix != "" {
		e.Msg, e.Fix = e.Msg+": "+because.Why, because.Fix
		return e
	}
	switch code := cause.Code(err); code {
	case codes.PermissionDenied:
		e.Msg, e.Fix = "this identity may not read "+what, "grant the gate's identity "+role
	case codes.NotFound:
		e.Msg, e.Fix = what+" does not exist", "correct its name in the configuration, or create it"
	case codes.Unimplemented:
		e.Msg, e.Fix = "the permissions on "+what+" cannot be listed: the service does not support the call",
			"ask Google itself: an emulator may lack the call"
	}

	return e
}

// unasked explains an error of Resource Manager, whose API is off in most projects. Only its own answer says so in a
// way that is stable; a denial without that is taken for it, since the call takes no permission.
func unasked(project string, err error) error {
	e := &attestor.Error{
		Kind: attestor.Upstream, Err: err,
		Msg: "Resource Manager did not answer which permissions this identity has on project " + project,
		Fix: "gcloud services enable cloudresourcemanager.googleapis.com --project " + project + ", and ask again",
	}
	because := cause.Of(err)
	switch {
	case because.Kind == cause.Disabled:
	case because.Fix != "":
		e.Msg, e.Fix = e.Msg+": "+because.Why, because.Fix
	case cause.Code(err) == codes.NotFound:
		e.Fix = "correct the project in the configuration's attestors"
	case cause.Code(err) != codes.PermissionDenied:
		e.Fix = "try again; if it persists, see https://status.cloud.google.com"
	}
	return e
}
