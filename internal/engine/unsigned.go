package engine

import (
	"context"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/loopback"
	"github.com/attestor-gate/attestor/internal/samples"
	"github.com/attestor-gate/attestor/policy"
)

// nobody is the [attestor.Attester] of a gate that signs nothing and asks no attestor.
type nobody struct{}

// Standing implements [attestor.Attester]: the attestations are not looked up, which is no answer that there are none.
func (nobody) Standing(context.Context, []string, []attestor.Image) (attestor.Standing, error) {
	return attestor.Standing{}, nil
}

// Attest implements [attestor.Attester]. It is never called in a dry run; whoever calls it gets no attestation.
func (nobody) Attest(
	context.Context, attestor.Authorization, attestor.Standing, func() error,
) ([]attestor.Attestation, error) {
	return nil, &attestor.Error{
		Kind: attestor.Invalid, Msg: "nothing is signed without a configuration",
		Fix: "name one by --config, or a service by --server",
	}
}

// Unconfigured is the configuration of a dry run that has none: the policies that were named, and the registries of the
// images and of the policies' bases. It records nothing and has no attestor: see Options.Unsigned. The scan project
// follows from an image's name. With an emulator, images on this machine are of its sample project.
func Unconfigured(policies, hosts []string, emulated bool, getenv func(string) string) (config.Config, error) {
	set, err := policy.Load(policies...)
	if err != nil {
		return config.Config{}, err
	}

	// Only hosts that the caller or the policy names are asked, each by its exact name.
	allowed := map[string]bool{}
	for _, host := range hosts {
		allowed[host] = true
	}
	for _, p := range set.All() {
		for _, b := range p.Needs().Bases {
			host, _, _ := strings.Cut(b.Repository, "/")
			allowed[host] = true
		}
	}

	c := config.Config{Policies: policies, Store: config.Store{None: true}}
	for host := range allowed {
		c.Registries.Allowed = append(c.Registries.Allowed, host)
		if emulated && loopback.Authority(host) {
			if c.ScanProjects == nil {
				c.ScanProjects = map[string]string{}
			}
			c.ScanProjects[host] = samples.Project
		}
	}
	c.Registries.Allowed = c.Registries.Hosts() // in order: the map has none, and messages name them

	// The variable PORT is a service's; this listens nowhere.
	return c, c.Finish(func(name string) string {
		if name == "PORT" {
			return ""
		}
		return getenv(name)
	}, ProfileProblem)
}
