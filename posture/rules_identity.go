package posture

import (
	"regexp"
	"slices"
	"strings"
)

var iapAgent = regexp.MustCompile(`^serviceAccount:service-[0-9]+@gcp-sa-iap\.iam\.gserviceaccount\.com$`)

// invokerAuth denies on any sign of unauthenticated calls; that there is none
// is known only from all of the service's own grants.
func invokerAuth(c *judging) answer {
	s := c.s
	g := c.set.grantsOn(s)
	faults := slices.Clone(g.public)
	m := mend{command: "gcloud run " + s.kind + "s remove-iam-policy-binding " + shell(s.name, "NAME") +
		" --member=MEMBER --role=ROLE", terraform: "remove the iam member"}
	if len(faults) > 0 {
		m.command = "gcloud run " + s.kind + "s remove-iam-policy-binding " + shell(s.name, "NAME") + " --member=" +
			faults[0].subject + " --role=" + shellRole(strings.TrimPrefix(faults[0].found, faults[0].subject+" has "))
		m.terraform = "remove " + faults[0].subject + " from the IAM resources"
	}

	if s.invokerDisabled.text == "true" {
		faults = append([]fault{{subject: "invoker-iam-disabled", found: "the invoker check is disabled"}}, faults...)
		m = mend{
			flag: "--invoker-iam-check", yaml: `metadata.annotations: {run.googleapis.com/invoker-iam-disabled: "false"}`,
			v2: `"invokerIamDisabled": false`, terraform: "invoker_iam_disabled = false",
		}
	}

	behindIAP := s.iap.text == "true" || slices.Contains(c.profile.behindIAP, s.name)
	switch {
	case len(faults) > 0 && behindIAP && restricted(s):
		return answer{
			state: stateAdmonished, found: tell(faults) + ", as an older set-up of Identity-Aware Proxy needed; ingress is " +
				s.ingress.text + ", so that callers come by the load balancer",
			wanted: "Identity-Aware Proxy's service agent as the only invoker", mend: m,
		}
	case len(faults) > 0 && behindIAP:
		return bad("Identity-Aware Proxy's service agent as the only invoker, or, in an older set-up, restricted "+
			"ingress: as it is, the proxy can be gone round", m, faults...)
	case len(faults) > 0:
		return bad("authenticated callers only", m, faults...)
	case s.invokerDisabled.unknown:
		return afterApply("whether the invoker check is disabled")
	case g.unknown:
		return afterApply("a member of the IAM policy")
	case !g.whole:
		return lacking("the definition does not say who may call",
			"give the output of `gcloud run "+s.kind+"s get-iam-policy "+shell(s.name, "NAME")+" --format json` with --iam")
	case s.iap.text == "true" && !slices.ContainsFunc(g.invoker, iapAgent.MatchString):
		return bad("service-PROJECT_NUMBER@gcp-sa-iap.iam.gserviceaccount.com in roles/run.invoker", mend{
			command: "gcloud run services add-iam-policy-binding " + shell(s.name, "NAME") +
				" --role=roles/run.invoker --member=serviceAccount:service-PROJECT_NUMBER@gcp-sa-iap.iam.gserviceaccount.com",
		}, fault{found: "Identity-Aware Proxy is on, and its service agent is no invoker"})
	}

	return good("no unauthenticated caller among the grants")
}

var accountAddress = regexp.MustCompile(`^[^@\s]+@[^@\s]+\.[^@\s]+$`)

func isDefaultAccount(email string) bool {
	email = strings.ToLower(email)
	return strings.HasSuffix(email, "-compute@developer.gserviceaccount.com") ||
		strings.HasSuffix(email, "@appspot.gserviceaccount.com")
}

func dedicatedServiceAccount(c *judging) answer {
	a := c.s.account
	m := mend{
		flag:      "--service-account=NAME@PROJECT.iam.gserviceaccount.com",
		yaml:      "spec.template.spec.serviceAccountName: NAME@PROJECT.iam.gserviceaccount.com",
		v2:        `"template": {"serviceAccount": "NAME@PROJECT.iam.gserviceaccount.com"}`,
		terraform: "template { service_account = google_service_account.NAME.email }",
	}
	const want = "an account of its own"
	switch {
	case a.unknown && c.s.created && (c.s.form == formTerraform || c.s.form == formTerraformV1):
		return afterApply("the service account")
	case a.unknown:
		return afterApply("the service account")
	case a.text == "":
		return bad(want, m, fault{found: "no service account is set, which is the Compute Engine default"})
	case isDefaultAccount(a.text):
		return bad(want, m, fault{subject: a.text, found: "runs as the default account " + clip(a.text)})
	case !accountAddress.MatchString(a.text):
		return bad("an account's e-mail address", m,
			fault{subject: a.text, found: quote(a.text) + " is no service account's address"})
	}

	return good("runs as %s", clip(a.text))
}

func leastPrivilege(c *judging) answer {
	a := c.s.account
	if a.unknown {
		return afterApply("the service account")
	}

	faults, whole := c.set.basicRoles(c.s)
	switch {
	case len(faults) > 0:
		return bad("the narrowest predefined roles, each on the resource it is for", mend{
			command: "gcloud projects remove-iam-policy-binding PROJECT --member=serviceAccount:" + shellAccount(a.text) +
				" --role=" + faults[0].subject,
		}, faults...)
	case a.text == "":
		return lacking("no service account is set, so that its roles cannot be looked up", "set --service-account")
	case !whole:
		return lacking("the project's grants were not given, or not all of them",
			"give the output of `gcloud projects get-iam-policy PROJECT --format json` with --project-iam")
	}

	return good("%s holds no basic role on the project in its own name", clip(a.text))
}

var roleName = regexp.MustCompile(`^((projects|organi[z]ations)/[a-z0-9.:-]+/)?roles/[A-Za-z0-9_.]+$`)

// shellRole is a role that can stand in a command, or the placeholder.
func shellRole(role string) string {
	if !roleName.MatchString(role) {
		return "ROLE"
	}
	return role
}

func shellAccount(email string) string {
	if email == "" || strings.Trim(email, "abcdefghijklmnopqrstuvwxyz0123456789-.@") != "" {
		return "ACCOUNT"
	}
	return email
}
