package posture

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// noContainers is the answer for a definition without containers. A rule about
// containers would find nothing wrong with an empty list, and so must not pass.
func noContainers(c *judging) (answer, bool) {
	if len(c.s.containers) > 0 {
		return answer{}, false
	}
	if c.s.partial {
		return afterApply("the list of containers"), true
	}

	return violated("a container",
		remedy{flag: "--image=IMAGE", knative: []edit{revisionField(sampleImage, "containers", "[]", "image").toFill()},
			fields: []edit{field(sampleImage, "template", "containers", "[]", "image").toFill()}},
		fault{found: "no container is defined"}), true
}

// label names a container in a message.
func (c container) label(i int) string {
	return cmp.Or(clip(c.name), fmt.Sprintf("container %d", i+1))
}

// minInstances asks for a warm instance. Zero is the default, and zero is as
// good as absent.
func minInstances(c *judging) answer {
	n := c.s.min
	switch {
	case n.unknown:
		return afterApply("the minimum number of instances")
	case c.s.modeUnknown:
		return afterApply("the scaling mode")
	case n.n >= 1:
		return satisfied("instances that stay warm: at least %d", n.n)
	}

	return violated("at least 1 instance", remedy{
		flag: "--min-instances=1", knative: []edit{revisionAnnotation(scalePrefix+"minScale", "1")},
		fields:   []edit{field(1, "template", "scaling", "minInstanceCount")},
		function: block("service_config", "min_instance_count = 1"),
	}, fault{found: "no instance stays warm"})
}

// maxInstances asks for an explicit bound, on costs and on the connections that
// a flood of requests opens to databases. Google's own default is not one that
// somebody chose.
func maxInstances(c *judging) answer {
	n := c.s.max
	switch {
	case n.unknown:
		return afterApply("the maximum number of instances")
	case c.s.modeUnknown:
		return afterApply("the scaling mode")
	case n.n >= 1:
		return satisfied("instances that run: at most %d", n.n)
	}

	return violated("an upper bound", remedy{
		flag: "--max-instances=10", knative: []edit{revisionAnnotation(scalePrefix+"maxScale", "10")},
		fields:   []edit{field(10, "template", "scaling", "maxInstanceCount")},
		function: block("service_config", "max_instance_count = 10"),
	}, fault{found: "no maximum number of instances is set"})
}

// nothing is a quantity of zero, such as "0", "0m" and "0Mi".
var nothing = regexp.MustCompile(`^[0.]*[A-Za-z]*$`)

// resourceLimits asks for both limits in every container: one side-car without
// a limit can starve the others.
func resourceLimits(c *judging) answer {
	if a, none := noContainers(c); none {
		return a
	}

	var faults []fault
	unknown := false
	for i, k := range c.s.containers {
		for _, limit := range []struct {
			name string
			text
		}{{"CPU", k.cpu}, {"memory", k.memory}} {
			if limit.unknown {
				unknown = true
			} else if nothing.MatchString(limit.text.text) { // absent, or a limit of nothing
				faults = append(faults, fault{subject: k.name, found: k.label(i) + " has no " + limit.name + " limit"})
			}
		}
	}

	switch {
	case len(faults) > 0:
		return violated("a CPU and a memory limit for each container", remedy{
			flag: "--cpu=1 --memory=512Mi", containers: containersOf(c.s, subjectsOf(faults)...),
			knative: []edit{
				revisionField("1", "containers", "[]", "resources", "limits", "cpu").ifAbsent(),
				revisionField("512Mi", "containers", "[]", "resources", "limits", "memory").ifAbsent(),
			},
			fields: []edit{
				field("1", "template", "containers", "[]", "resources", "limits", "cpu").ifAbsent(),
				field("512Mi", "template", "containers", "[]", "resources", "limits", "memory").ifAbsent(),
			},
			function: block("service_config", `available_cpu    = "1"`, `available_memory = "512Mi"`),
		}, faults...)
	case unknown:
		return afterApply("a limit")
	}

	return satisfied("every container has a CPU and a memory limit")
}

// timeoutBounded compares the request timeout with the profile's.
func timeoutBounded(c *judging) answer {
	t := c.s.timeout
	if t.unknown {
		return afterApply("the timeout")
	}

	// Absent and zero are the platform's default, five minutes, and are judged as
	// such: neither is "no timeout", and neither is shorter than the default.
	found := "the timeout is " + seconds(t.d)
	if !t.set || t.d == 0 {
		t.d, found = 300*time.Second, "the timeout is not set, and defaults to 300s"
	}

	most := seconds(c.profile.maxTimeout)
	if t.d <= c.profile.maxTimeout && t.assumed {
		return afterApply("whether the timeout is set")
	}
	if t.d <= c.profile.maxTimeout {
		return satisfied("%s, at most %s is allowed", found, most)
	}

	return violated("at most "+most, remedy{
		flag:     "--timeout=" + most,
		knative:  []edit{revisionField(int(c.profile.maxTimeout.Seconds()), "timeoutSeconds")},
		fields:   []edit{field(most, "template", "timeout")},
		function: block("service_config", "timeout_seconds = "+most[:len(most)-1]),
	}, fault{found: found})
}

func seconds(d time.Duration) string { return fmt.Sprintf("%gs", d.Seconds()) }

// concurrencySet asks for a number. "If not specified or 0, defaults to 80 when
// requested CPU >= 1" (run/v1): zero is no choice either.
func concurrencySet(c *judging) answer {
	n := c.s.concurrency
	switch {
	case n.unknown:
		return afterApply("the concurrency")
	case n.n >= 1:
		return satisfied("requests at once for a container: at most %d", n.n)
	}

	return violated("the number of concurrent requests that the container was tested with", remedy{
		flag: "--concurrency=80", knative: []edit{revisionField(80, "containerConcurrency")},
		fields:   []edit{field(80, "template", "maxInstanceRequestConcurrency")},
		function: block("service_config", "max_instance_request_concurrency = 80"),
	}, fault{found: "container concurrency is not set"})
}

// cmek asks for the key that encrypts the deployed container image. Only the full
// name of a key passes: the definition is then bound to one project and region.
func cmek(c *judging) answer {
	switch k := c.s.key; {
	case k.unknown:
		return afterApply("the encryption key")
	case isKey(k.text):
		return satisfied("encrypted with %s", clip(k.text))
	default:
		found := "no encryption key is set"
		if k.text != "" {
			found = quote(k.text) + " is not the name of a Cloud KMS key"
		}
		const name = "projects/PROJECT/locations/REGION/keyRings/RING/cryptoKeys/KEY"
		return violated("a Cloud KMS key", remedy{
			flag: "--key=" + name, knative: []edit{revisionAnnotation(runPrefix+"encryption-key", name).toFill()},
			fields:   []edit{field(name, "template", "encryptionKey").toFill()},
			function: `kms_key_name = "` + name + `"`,
		}, fault{found: found})
	}
}

// probes asks for a startup or liveness probe in the container that receives
// requests: the one with a port, or else the first.
func probes(c *judging) answer {
	if a, none := noContainers(c); none {
		return a
	}

	// Of several containers exactly one may have a port: Cloud Run refuses all others. So one whose port is known receives
	// the requests, whatever the plan leaves open about the others.
	ingress, known := 0, false
	for i, k := range c.s.containers {
		if k.port {
			ingress, known = i, true
		}
	}

	// Without health checks at deployment startup probes do not run, and are no
	// evidence. Liveness probes still run.
	k := c.s.containers[ingress]
	if !known && len(c.s.containers) > 1 && slices.ContainsFunc(c.s.containers, func(k container) bool { return k.portUnknown }) {
		return afterApply("which container receives requests")
	}
	if k.probeUnknown && !k.startup && !k.liveness {
		return afterApply("whether " + k.label(ingress) + " has a probe")
	}
	if k.startup && !k.liveness && c.s.healthDisabled.unknown {
		return afterApply("whether startup probes run")
	}
	if k.liveness || k.startup && c.s.healthDisabled.text != "true" {
		return satisfied("%s has a probe", c.s.containers[ingress].label(ingress))
	}

	found := k.label(ingress) + " has no probe"
	if k.startup {
		found = k.label(ingress) + " has a startup probe, which does not run, since health checks are disabled"
	}

	flag, probe := "--startup-probe", "startupProbe"
	if c.s.healthDisabled.text == "true" { // a further startup probe would not run either
		flag, probe = "--liveness-probe", "livenessProbe"
	}

	return violated("a startup or liveness probe", remedy{
		flag: flag + "=httpGet.path=/health", containers: containersOf(c.s, k.name),
		knative: []edit{revisionField("/health", "containers", "[]", probe, "httpGet", "path").toFill()},
		fields:  []edit{field("/health", "template", "containers", "[]", probe, "httpGet", "path").toFill()},
	}, fault{subject: k.name, found: found})
}

// shellDisabled asks that nobody can open an SSH session. The gate judged the
// image; a person in a shell can run anything with the service's identity.
func shellDisabled(c *judging) answer {
	switch on := c.s.shell; {
	case on.unknown:
		return afterApply("whether SSH is enabled")
	case on.text == "", strings.EqualFold(on.text, "false"), on.text == "disabled":
		return satisfied("SSH into containers is not enabled")
	}

	// The flag is in preview, and no command for worker pools has it.
	var command string
	switch c.s.kind {
	case kindService:
		command = "gcloud alpha run services update " + shell(c.s.name, "NAME") + c.s.inRegion() + " --no-ssh"
	case kindInstance:
		command = c.s.gcloud() + " update " + shell(c.s.name, "NAME") + c.s.inRegion() + " --no-ssh"
	}

	return violated("SSH disabled", remedy{
		command: command, knative: []edit{without(revisionAnnotation(runPrefix+"secure-session-agent", ""))},
		fields: []edit{field(false, "sshEnabled")},
	}, fault{found: "SSH into running containers is enabled"})
}

// revisionJudged asks that all traffic goes to the revision of this definition.
// A template is no evidence about an older revision, which may have another
// image and other settings. A tag makes a revision reachable without traffic.
func revisionJudged(c *judging) answer {
	if len(c.s.otherRevisions) == 0 && c.s.trafficUnknown {
		return afterApply("a revision with traffic")
	}
	if len(c.s.otherRevisions) == 0 {
		return satisfied("all traffic goes to the revision of this definition")
	}

	// A worker pool has instances by revision, and no traffic.
	verb, flags := " update-traffic ", " --to-latest --clear-tags"
	if c.s.kind == kindPool {
		verb, flags = " update-instance-split ", " --to-latest"
	}

	return missingEvidence("traffic or a tag goes to "+clip(c.s.otherRevisions[0])+", which is not in this definition",
		c.s.gcloud()+verb+shell(c.s.name, "NAME")+c.s.inRegion()+flags)
}
