package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"
)

// storeFindings is `findings IMAGE N`: it stores N critical findings of an image with the emulator, as the scanner writes them.
// Three findings are of one package; every fourth has no fix.
func storeFindings(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: findings IMAGE N")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)

	type object = map[string]any
	var all []object
	for i := range n {
		name, fixable := fmt.Sprintf("lib%d", i/3), i%4 != 0
		version := func(v string) object {
			return object{"kind": "NORMAL", "name": v, "revision": "1", "fullName": v + "-1"}
		}
		issue := object{
			"affectedCpeUri": "cpe:/o:debian:debian_linux:12", "affectedPackage": name, "affectedVersion": version("1.0"),
			"packageType": "OS", "effectiveSeverity": "CRITICAL", "fixAvailable": fixable,
		}
		if fixable {
			issue["fixedCpeUri"], issue["fixedPackage"], issue["fixedVersion"] = issue["affectedCpeUri"], name, version("1.1")
		}
		all = append(all, object{
			"resourceUri": "https://" + args[0], "kind": "VULNERABILITY", "noteName": fmt.Sprintf("projects/goog-vulnz/notes/CVE-2026-%d", 1000+i),
			"vulnerability": object{"severity": "CRITICAL", "effectiveSeverity": "CRITICAL", "fixAvailable": fixable, "packageIssue": []object{issue}},
		})
	}

	body, err := json.Marshal(object{"occurrences": all})
	ts.Check(err)
	resp, err := http.Post("http://"+ts.Getenv("GOOGLE")+"/v1/projects/dev/occurrences:batchCreate", "application/json", bytes.NewReader(body))
	ts.Check(err)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		answer, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		ts.Fatalf("%s: %s", resp.Status, answer)
	}
}
