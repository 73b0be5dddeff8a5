package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/api/option"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/describe"
	"github.com/attestor-gate/attestor/internal/google"
)

// maxLeftNamed bounds how many of the repositories that are left out are named.
const maxLeftNamed = 10

// listedTargets are repositories of images that were named, and registries that hold some.
type listedTargets struct {
	repositories []string
	registries   []audit.Registry
	remoteEmu    bool
}

// targets sorts the arguments and projects of an audit into registries and repositories.
func (f *auditFlags) targets(args []string) (t listedTargets, err error) {
	t.remoteEmu = f.where.remoteEmu
	for _, arg := range args {
		registry, whole, err := audit.ParseRegistry(arg)
		switch {
		case err != nil:
			return t, err
		case whole:
			t.registries = append(t.registries, registry)
		default:
			t.repositories = append(t.repositories, arg)
		}
	}

	for _, project := range f.projects {
		registry, err := audit.ProjectRegistry(project)
		if err != nil {
			return t, err
		}
		t.registries = append(t.registries, registry)
	}
	return t, nil
}

// String names them for messages.
func (t listedTargets) String() string {
	all := slices.Clone(t.repositories)
	for _, r := range t.registries {
		all = append(all, r.String())
	}
	return strings.Join(all, ", ")
}

// tags lists the tags of all of them. A registry is listed when it is its turn, each repository of images once; the
// first list that fails ends all of it, since a part would look like the whole.
func (t listedTargets) tags(ctx context.Context, plain config.Registries, w io.Writer) audit.References {
	return func(yield func(string, error) bool) {
		// A repository that is named and also found in a registry is listed once.
		seen := map[string]bool{}
		for _, r := range t.repositories {
			seen[r] = true
		}

		// No client is made for registries that are not listed.
		o, err := tagLister(t.repositories, plain)
		if err != nil {
			yield("", err)
			return
		}
		for ref, err := range audit.TagsOf(ctx, t.repositories, o) {
			if !yield(ref, err) || err != nil {
				return
			}
		}

		// Registries come after what was named, so that repositories of both are listed as named.
		for _, registry := range t.registries {
			found, err := t.repositoriesIn(ctx, registry, plain)
			if err != nil {
				yield("", err)
				return
			}

			// Found twice, in a registry and its parent, a repository is listed once.
			fresh := slices.DeleteFunc(found.Names, func(r string) bool { return seen[r] })
			for _, r := range fresh {
				seen[r] = true
			}
			empty, more := tagsOfFound(ctx, fresh, plain, yield)
			if !more {
				return
			}
			sayFound(w, registry, len(fresh), append(found.Left, empty...))
		}
	}
}

// repositoriesIn asks whoever knows which repositories of images a registry holds.
func (t listedTargets) repositoriesIn(
	ctx context.Context, r audit.Registry, plain config.Registries,
) (audit.Repositories, error) {
	if !r.Artifact() {
		o, err := tagLister([]string{r.Host() + "/any"}, plain)
		if err != nil {
			return audit.Repositories{}, err
		}
		return audit.Catalog(ctx, r, o)
	}

	// What an emulated gate judges is no business of Google's, and Google's credentials are none of an emulator's.
	e, err := google.FindEmulators(os.Getenv, t.remoteEmu)
	if err != nil {
		return audit.Repositories{}, err
	}

	// Only an emulator is asked without credentials.
	var opts []option.ClientOption
	if e.Analysis != "" {
		opts = append(opts, option.WithEndpoint("http://"+e.Analysis), option.WithoutAuthentication())
	}
	return audit.ArtifactRegistry(ctx, r, opts...)
}

// tagsOfFound lists the tags of repositories that a registry listed. One that the registry then does not know has no
// tag: catalogues keep the names of repositories that were emptied. It is left out, and said to be. more is false if
// the list ended early.
func tagsOfFound(
	ctx context.Context, repositories []string, plain config.Registries, yield func(string, error) bool,
) (empty []string, more bool) {
	o, err := tagLister(repositories, plain)
	if err != nil {
		yield("", err)
		return nil, false
	}

	for _, repository := range repositories {
		tags := 0
		for ref, err := range audit.TagsOf(ctx, []string{repository}, o) {
			// A later page that is missing is a part, and no empty list.
			if err != nil && attestor.KindOf(err) == attestor.NotFound && tags == 0 {
				break
			}
			tags++
			if !yield(ref, err) || err != nil {
				return nil, false
			}
		}
		if tags == 0 {
			empty = append(empty, repository+" (no tag)")
		}
	}
	return empty, true
}

// sayFound says what was listed in a registry, and what was left out.
func sayFound(w io.Writer, r audit.Registry, n int, left []string) {
	fmt.Fprintf(w, "attestor: %s: %s listed\n", r, describe.Plural(n, "repository"))
	if len(left) == 0 {
		return
	}

	named := strings.Join(left[:min(len(left), maxLeftNamed)], ", ")
	if more := len(left) - maxLeftNamed; more > 0 {
		named += fmt.Sprintf(" and %d more", more)
	}
	fmt.Fprintf(w, "attestor: %s: left out: %s\n", r, named)
}

// registerProjects adds the flag that names whole projects.
func (f *auditFlags) registerProjects(c *cobra.Command) {
	c.Flags().StringArrayVar(&f.projects, "project", nil,
		"judge the images of all repositories that this `PROJECT` has in Artifact Registry (repeatable)")
}
