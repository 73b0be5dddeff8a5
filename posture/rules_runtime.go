package posture

import (
	"cmp"
	"fmt"
	"time"
)

// noContainers is the answer where a rule has nothing to judge: nothing is no
// pass.
func noContainers(c *judging) (answer, bool) {
	if len(c.s.containers) > 0 {
		return answer{}, false
	}
	if c.s.partial {
		return afterApply("the list of containers"), true
	}

	return bad("a container", mend{flag: "--image=IMAGE", yaml: "spec.template.spec.containers: [{image: IMAGE}]"},
		fault{found: "no container is defined"}), true
}

// label names a container in a message.
func (c container) label(i int) string {
	return cmp.Or(clip(c.name), fmt.Sprintf("container %d", i+1))
}

func minInstances(c *judging) answer {
	n := c.s.min
	switch {
	case n.unknown:
		return afterApply("the minimum of instances")
	case n.n >= 1:
		return good("at least %d warm", n.n)
	}

	return bad("at least 1", mend{
		flag: "--min-instances=1", yaml: `spec.template.metadata.annotations: {autoscaling.knative.dev/minScale: "1"}`,
		v2: `"template": {"scaling": {"minInstanceCount": 1}}`, terraform: "template { scaling { min_instance_count = 1 } }",
	}, fault{found: "no instance is kept warm"})
}

func maxInstances(c *judging) answer {
	n := c.s.max
	switch {
	case n.unknown:
		return afterApply("the maximum of instances")
	case n.n >= 1:
		return good("the maximum is %d", n.n)
	}

	return bad("an upper bound", mend{
		flag: "--max-instances=10", yaml: `spec.template.metadata.annotations: {autoscaling.knative.dev/maxScale: "10"}`,
		v2:        `"template": {"scaling": {"maxInstanceCount": 10}}`,
		terraform: "template { scaling { max_instance_count = 10 } }",
	}, fault{found: "no maximum of instances is set"})
}

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
			} else if limit.text.text == "" {
				faults = append(faults, fault{subject: k.name, found: k.label(i) + " has no " + limit.name + " limit"})
			}
		}
	}

	switch {
	case len(faults) > 0:
		return bad("both limits", mend{
			flag: "--cpu=1 --memory=512Mi", yaml: "spec.template.spec.containers[].resources.limits: {cpu: '1', memory: 512Mi}",
			v2:        `"resources": {"limits": {"cpu": "1", "memory": "512Mi"}}`,
			terraform: `resources { limits = { cpu = "1", memory = "512Mi" } }`,
		}, faults...)
	case unknown:
		return afterApply("a limit")
	}

	return good("CPU and memory are limited")
}

func timeoutBounded(c *judging) answer {
	t := c.s.timeout
	if t.unknown {
		return afterApply("the timeout")
	}

	found := "the timeout is " + seconds(t.d)
	if !t.set || t.d == 0 {
		t.d, found = 300*time.Second, "the timeout is not set, which is 300s"
	}

	most := seconds(c.profile.maxTimeout)
	if t.d <= c.profile.maxTimeout {
		return good("%s, at most %s is allowed", found, most)
	}

	return bad("at most "+most, mend{
		flag: "--timeout=" + most, yaml: "spec.template.spec.timeoutSeconds: " + most[:len(most)-1],
		v2: `"template": {"timeout": "` + most + `"}`, terraform: `template { timeout = "` + most + `" }`,
	}, fault{found: found})
}

func seconds(d time.Duration) string { return fmt.Sprintf("%gs", d.Seconds()) }

func concurrencySet(c *judging) answer {
	n := c.s.concurrency
	switch {
	case n.unknown:
		return afterApply("the concurrency")
	case n.n >= 1:
		return good("at most %d requests at once in a container", n.n)
	}

	return bad("a number that the container was tested with", mend{
		flag: "--concurrency=80", yaml: "spec.template.spec.containerConcurrency: 80",
		v2:        `"template": {"maxInstanceRequestConcurrency": 80}`,
		terraform: "template { max_instance_request_concurrency = 80 }",
	}, fault{found: "container concurrency is not set"})
}

// cmek asks for a key of the revision; that of other resources is theirs.
func cmek(c *judging) answer {
	switch k := c.s.key; {
	case k.unknown:
		return afterApply("the encryption key")
	case isKey(k.text):
		return good("encrypted with %s", clip(k.text))
	default:
		found := "no encryption key is set"
		if k.text != "" {
			found = quote(k.text) + " is no Cloud KMS key"
		}
		const name = "projects/PROJECT/locations/REGION/keyRings/RING/cryptoKeys/KEY"
		return bad("a Cloud KMS key", mend{
			flag: "--key=" + name, yaml: "spec.template.metadata.annotations: {run.googleapis.com/encryption-key: " + name + "}",
			v2: `"template": {"encryptionKey": "` + name +
				`"}`, terraform: "template { encryption_key = google_kms_crypto_key.KEY.id }",
		}, fault{found: found})
	}
}

func probes(c *judging) answer {
	if a, none := noContainers(c); none {
		return a
	}

	ingress := 0
	for i, k := range c.s.containers {
		if k.port {
			ingress = i
		}
	}

	if c.s.containers[ingress].probe {
		return good("%s has a probe", c.s.containers[ingress].label(ingress))
	}

	return bad("a startup or liveness probe", mend{
		flag: "--startup-probe=httpGet.path=/health",
		yaml: "spec.template.spec.containers[].startupProbe: {httpGet: {path: /health}}",
		v2:   `"startupProbe": {"httpGet": {"path": "/health"}}`, terraform: `startup_probe { http_get { path = ` +
			`"/health" } }`,
	}, fault{subject: c.s.containers[ingress].name, found: c.s.containers[ingress].label(ingress) + " has no probe"})
}

// revisionJudged keeps a good template from speaking for an older revision
// that still serves.
func revisionJudged(c *judging) answer {
	if len(c.s.otherRevisions) == 0 {
		return good("traffic goes to what this definition makes")
	}
	return lacking("traffic, or a tag, goes to "+clip(c.s.otherRevisions[0])+", which this definition does not show",
		"gcloud run services update-traffic "+shell(c.s.name, "NAME")+" --to-latest --clear-tags")
}
