package audit_test

// A tampering is what somebody with the database's password can do, and what shows it.
type tampering struct {
	name string
	sql  []string
	// the rows are as earlier builds wrote them, and as this one does where it is false
	plain bool
	// the record that the fault is about, and a part of its text
	about, says string
}

func tamperings() []tampering {
	const one = "0199-000003"
	return []tampering{
		{"a denial turned into a pass, column alone", []string{`UPDATE decisions SET verdict = 'pass' WHERE id = '0199-000003'`}, false, one, "columns"},
		{"a denial turned into a pass, body alone", []string{`UPDATE decisions SET body = REPLACE(body, ` +
			`'"verdict":"deny"', '"verdict":"pass"') WHERE id = '0199-000003'`}, true, one, "body"},
		{"both", []string{`UPDATE decisions SET verdict = 'pass', body = REPLACE(body, '"verdict":"deny"', ` +
			`'"verdict":"pass"') WHERE id = '0199-000003'`}, true, one, "body"},
		{"another policy", []string{`UPDATE decisions SET policy = 'lax' WHERE id = '0199-000003'`}, false, one, "columns"},
		{"another digest", []string{`UPDATE decisions SET digest = (SELECT digest FROM decisions WHERE id = ` +
			`'0199-000004') WHERE id = '0199-000003'`}, false, one, "columns"},
		{"another time", []string{`UPDATE decisions SET at = at - 60000000 WHERE id = '0199-000003'`}, false, one, "columns"},
		{"another outline of the evidence", []string{`UPDATE decisions SET evidence = (SELECT evidence FROM ` +
			`decisions WHERE id = '0199-000004') WHERE id = '0199-000003'`}, true, one, "columns"},
		{"an override hidden", []string{`UPDATE decisions SET break_glass = FALSE WHERE id = '0199-000007'`}, false, "0199-000007", "columns"},
		{"back to begun", []string{`UPDATE decisions SET state = 'begun' WHERE id = '0199-000003'`}, false, one, "removed"},
		{"two decisions swapped", []string{
			`UPDATE decisions SET body = (SELECT d.body FROM decisions d WHERE d.id = '0199-000004') WHERE id = '0199-000003'`,
			`UPDATE decisions SET body = REPLACE(body, '0199-000004', '0199-000003') WHERE id = '0199-000003'`,
		}, true, one, "changed"},
		{"a decision removed", []string{`DELETE FROM decisions WHERE id = '0199-000003'`}, false, one, "removed"},
		{"a decision and its entry removed", []string{
			`DELETE FROM decisions WHERE id = '0199-000003'`, `DELETE FROM log_leaves WHERE id = '0199-000003'`,
		}, false, "", "entry is missing"},
		{"an entry removed", []string{`DELETE FROM log_leaves WHERE id = '0199-000003'`}, false, one, "no entry"},
		{"the salt removed", []string{`UPDATE log_leaves SET salt = NULL WHERE id = '0199-000003'`}, false, one, "key of its entry"},
		{"evidence changed", []string{`UPDATE blobs SET data = (SELECT data FROM blobs ORDER BY hash LIMIT 1) ` +
			`WHERE hash = (SELECT MAX(hash) FROM blobs)`}, false, "sha256:", "changed"},
		{"evidence removed", []string{`DELETE FROM blobs`}, false, one, "removed"},
		{"an entry of another decision", []string{
			`UPDATE log_leaves SET entry = (SELECT entry FROM log_leaves WHERE id = '0199-000004') WHERE id = '0199-000003'`,
		}, false, "", "entry was changed"},
		{"the id of an entry", []string{`UPDATE log_leaves SET id = '0199-other' WHERE id = '0199-000003'`}, false, "", "entry was changed"},
		{"the kind of an entry", []string{`UPDATE log_leaves SET kind = 'override' WHERE id = '0199-000003'`}, false, "", "entry was changed"},
		{"the short form of an entry", []string{
			`UPDATE log_leaves SET entry = (SELECT data FROM blobs ORDER BY hash LIMIT 1) WHERE id = '0199-000003'`,
		}, false, "", "entry was changed"},
		{"the id of an entry of an earlier build", []string{
			`UPDATE log_leaves SET id = '0199-other' WHERE id = '0199-000003'`,
		}, true, "", "stored as that of"},
		{"entries reordered", []string{
			`UPDATE log_leaves SET n = -1 WHERE id = '0199-000003'`,
			`UPDATE log_leaves SET n = 4 WHERE id = '0199-000004'`,
			`UPDATE log_leaves SET n = 5 WHERE n = -1`,
		}, false, "", "reordered"},
		{"a decision without an entry", []string{
			`INSERT INTO decisions (id, at, state, requested, repository, digest, verdict, policy, policy_digest, break_glass, body, evidence, moved)
				SELECT '0199-forged', at, state, requested, repository, digest, verdict, policy, policy_digest, break_glass, body, evidence, moved
				FROM decisions WHERE id = '0199-000004'`,
		}, false, "0199-forged", "no entry"},
		{"an override's reason", []string{`UPDATE overrides SET reason = 'planned maintenance'`}, false, "0199-000007", "override"},
		{"an override removed", []string{`DELETE FROM overrides`}, false, "0199-000007", "removed"},
		{"an override closed by nothing", []string{`UPDATE overrides SET closed_by = 'x'`}, false, "0199-000007", "nothing that was recorded"},
		{"a revocation changed", []string{
			`UPDATE revocations SET body = REPLACE(body, 'the incident is over', 'a mistake')`,
		}, false, "0199-revocation", "changed"},
		{"a revocation removed", []string{`DELETE FROM revocations`}, false, "0199-revocation", "removed"},
		{"the end of the log cut off", []string{
			`DELETE FROM log_leaves WHERE n >= 16`, `DELETE FROM decisions WHERE id >= '0199-000016'`,
		}, false, "", "missing"},
		{"the text of a compressed denial", []string{
			`UPDATE decisions SET body = '{"id":"0199-000003","verdict":"pass"}' WHERE id = '0199-000003'`,
		}, false, one, "body"},
		{"the evidence of a compressed denial", []string{
			`UPDATE decisions SET evidence = '{}' WHERE id = '0199-000003'`,
		}, false, one, "changed"},
		{"a compressed decision put in place of another", []string{
			`UPDATE decisions SET packed = (SELECT d.packed FROM decisions d WHERE d.id = '0199-000004') WHERE id = '0199-000003'`,
		}, false, one, "body"},
		{"a compressed decision removed from its row", []string{
			`UPDATE decisions SET packed = NULL WHERE id = '0199-000003'`,
		}, false, one, "body"},
		{"a compressed decision damaged", []string{
			`UPDATE decisions SET packed = (SELECT data FROM blobs ORDER BY hash LIMIT 1) WHERE id = '0199-000003'`,
		}, false, one, "body"},
		{"a hash of the tree", []string{
			`UPDATE log_leaves SET hashes = (SELECT hashes FROM log_leaves WHERE n = 0) WHERE n = 22`,
		}, false, "", "entry was changed"},
	}
}
