package attestor

import (
	"cmp"
	"slices"
)

// Upcoming is a day from which images are refused that only give a warning until then.
type Upcoming struct {
	EffectiveFrom string       `json:"effectiveFrom"` // a day in UTC, as in 2027-03-01
	Owner         string       `json:"owner"`         // of the day, as the policy names it
	Images        int          `json:"images"`        // that are warned of it
	ByReason      map[Code]int `json:"byReason"`      // of them, by code; an image may have several
	Examples      []string     `json:"examples"`      // the first ten images
}

// Upcoming lists the reasons that refuse from a later day on. Each has a date, an owner and the severity [Warns].
func (d Decision) Upcoming() []Reason {
	var out []Reason
	for _, c := range d.Checks {
		for _, r := range c.Reasons {
			if r.EffectiveFrom != "" {
				out = append(out, r)
			}
		}
	}
	return out
}

// maxUpcomingExamples bounds the images that one day names.
const maxUpcomingExamples = 10

// UpcomingCounts counts images by the day from which they are refused. The zero value is empty. It is for one
// goroutine.
type UpcomingCounts struct {
	days map[[2]string]*upcomingDay
}

type upcomingDay struct {
	Upcoming
	images map[string]map[Code]bool
}

// Add counts the reasons of one image that refuse later, each image once for a day and once for a code.
func (c *UpcomingCounts) Add(image string, reasons []Reason) {
	for _, r := range reasons {
		if r.EffectiveFrom == "" {
			continue
		}
		if c.days == nil {
			c.days = map[[2]string]*upcomingDay{}
		}

		key := [2]string{r.EffectiveFrom, r.Owner}
		day := c.days[key]
		if day == nil {
			day = &upcomingDay{
				Upcoming: Upcoming{
					EffectiveFrom: r.EffectiveFrom,
					Owner:         r.Owner,
					ByReason:      map[Code]int{},
					Examples:      []string{},
				},
				images: map[string]map[Code]bool{},
			}
			c.days[key] = day
		}

		// An image counts once for a day, whatever number of its reasons refuse then.
		codes, seen := day.images[image]
		if !seen {
			codes = map[Code]bool{}
			day.images[image] = codes
			day.Images++
			if len(day.Examples) < maxUpcomingExamples {
				day.Examples = append(day.Examples, image)
			}
		}
		if !codes[r.Code] {
			codes[r.Code] = true
			day.ByReason[r.Code]++
		}
	}
}

// List is what was counted, the next day first. It is never nil.
func (c *UpcomingCounts) List() []Upcoming {
	out := make([]Upcoming, 0, len(c.days))
	for _, d := range c.days {
		out = append(out, d.Upcoming)
	}
	slices.SortFunc(out, func(a, b Upcoming) int {
		return cmp.Or(cmp.Compare(a.EffectiveFrom, b.EffectiveFrom), cmp.Compare(a.Owner, b.Owner))
	})
	return out
}
