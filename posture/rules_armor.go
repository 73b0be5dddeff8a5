package posture

import (
	"slices"
	"strings"
)

const (
	globalArmor, regionalArmor         = "google_compute_security_policy", "google_compute_region_security_policy"
	globalArmorRule, regionalArmorRule = "google_compute_security_policy_rule",
		"google_compute_region_security_policy_rule"
)

// armored applies wrong to every security policy that guards a backend.
func (c *judging) armored(required, terraform, fine string, wrong func(armor) string) answer {
	var faults []fault
	policies := c.s.plan.of(globalArmor, regionalArmor)
	for _, p := range policies {
		if !guardsBackends(p.after) {
			continue
		}

		// What is wrong even at best is a fault; what is right only at best has no answer yet.
		a := c.s.plan.armorReading(p)
		w := wrong(a.strict)
		switch {
		case w == "":
		case a.open != "" && slices.ContainsFunc(a.lax, func(at armor) bool { return wrong(at) == "" }):
			c.opens(a.open, "")
		default:
			faults = append(faults, fault{subject: p.address, found: clip(p.address) + " " + w})
		}
	}

	switch {
	case len(policies) == 0:
		return notInPlan()
	case len(faults) > 0:
		return violated(required, remedy{terraform: terraform}, faults...)
	case c.open != "":
		return afterApplyIn(c.open)
	}

	return satisfied("%s", fine)
}

// guardsBackends reports whether a security policy is of the type that guards
// backend services. Any type but the known others is judged.
func guardsBackends(n *node) bool {
	return !isOneOf(n.at("type"), "CLOUD_ARMOR_EDGE", "CLOUD_ARMOR_NETWORK", "CLOUD_ARMOR_INTERNAL_SERVICE")
}

// wafRules asks for a rule that denies SQL injection and one that denies
// cross-site scripting, each before any rule that lets everybody in.
func wafRules(c *judging) answer {
	return c.armored("rules with deny(403) that evaluate sqli-v33-stable and xss-v33-stable, before any rule for "+
		"all callers",
		block("rule", `action   = "deny(403)"`, `priority = 1000 # and a like rule for xss-v33-stable at 1001`,
			block("match", block("expr", `expression = "evaluatePreconfiguredWaf('sqli-v33-stable')"`))),
		"SQL injection and cross-site scripting are denied", func(a armor) string {
			var lacks []string
			for _, attack := range []string{"sqli-", "xss-"} {
				if !a.stops(attack) {
					lacks = append(lacks, attack)
				}
			}

			if len(lacks) == 0 {
				return ""
			}

			return "denies no " + strings.Join(lacks, " and no ") + " attack"
		})
}

// rateLimited asks for a rule that throttles or bans. A rule without
// rate_limit_options has no threshold.
func rateLimited(c *judging) answer {
	return c.armored("a rule that throttles or bans, before any rule for all callers",
		block("rule", `action   = "throttle"`, "priority = 2000", block("match", `versioned_expr = "SRC_IPS_V1"`,
			block("config", `src_ip_ranges = ["*"]`)), block("rate_limit_options", `conform_action = "allow"`,
			`exceed_action  = "deny(429)"`, `enforce_on_key = "IP"`, block("rate_limit_threshold", "count        = 100",
				"interval_sec = 60"))), "callers are throttled or banned",
		func(a armor) string {
			if a.limits() {
				return ""
			}
			return "does not limit the rate of any caller"
		})
}
