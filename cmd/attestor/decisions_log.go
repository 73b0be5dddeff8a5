package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/describe"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/internal/objects"
	"github.com/attestor-gate/attestor/internal/plain"
	"github.com/attestor-gate/attestor/internal/translog"
)

func decisionsProveCommand() *cobra.Command {
	var f recordFlags
	c := &cobra.Command{
		Use: "prove ID", Short: "Print a proof that the record's log has a decision",
		Args: wants(1, "which decision, by its id"),
		Long: `Prints a proof (c2sp.org/tlog-proof) that the record's transparency log has a decision. Whoever has the proof and
the log's public key can check it offline, with attestor decisions verify or another program.`,
		Example: "  attestor decisions prove 01990000-0000-7000-8000-000000000000 > decision.tlog-proof\n" +
			"  attestor decisions verify decision.tlog-proof --key VKEY",
		RunE: func(c *cobra.Command, args []string) error {
			of := f.provenByRecord
			if f.server != "" {
				of = f.provenByService
			}
			proof, err := of(c, args[0])
			if err != nil {
				return err
			}
			_, err = c.OutOrStdout().Write(proof)
			return err
		},
	}

	f.where(c)
	return c
}

// provenByService passes on what the service proves: whoever reads it verifies it.
func (f *recordFlags) provenByService(c *cobra.Command, id string) (proof []byte, err error) {
	cl, err := newClient(c, f.server, f.identity)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, cl.Close()) }()
	return cl.Proof(c.Context(), id)
}

func (f *recordFlags) provenByRecord(c *cobra.Command, id string) (proof []byte, err error) {
	s, err := f.openStore(c.Context())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return s.Prove(c.Context(), id)
}

func decisionsLogKeyCommand() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use: "log-key", Short: "Print the public key of the record's log", Args: noArguments,
		Long: `Prints the public key by which proofs and checkpoints of the record's log are verified (c2sp.org/signed-note). Give it
to whoever verifies them, by another channel than the proofs.`,
		Example: "  attestor decisions log-key --config attestor.yaml > log.pub",
		RunE: func(c *cobra.Command, _ []string) error {
			conf, err := configured(path)
			if err != nil {
				return err
			}
			if conf.Log == nil {
				return errors.New("the configuration has no log.key: the log is not signed")
			}
			key, err := engine.LogVerifier(c.Context(), conf, os.Getenv)
			if err != nil {
				return &exit{3, fmt.Errorf("the log's public key cannot be read: %w", err)}
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), key)
			return err
		},
	}

	c.Flags().StringVar(&path, "config", "", "the configuration `FILE`; attestor.yaml where there is one")
	return c
}

func decisionsVerifyCommand() *cobra.Command {
	var f verifyLogFlags
	c := &cobra.Command{
		Use: "verify [PROOF]", Short: "Find records that were changed, removed, reordered or added",
		Args: cobra.MaximumNArgs(1),
		Long: `Compares the record with its transparency log, and the log with signed checkpoints. It finds decisions, overrides and
revocations that were changed, removed or reordered, or that have no entry in the log, and says which.

Whoever changed the whole database, its log included, or put back an earlier one, is found by a checkpoint that was kept
outside of it: name it with --checkpoint.

With PROOF, a file that attestor decisions prove wrote, it verifies that proof by --key alone, without a record or a
service; with --decision also that a decision's JSON is what was recorded.

With --witness, each of these witnesses must have cosigned a checkpoint of the log: the proof's, one in the record, or one that
the service gives. A log with a second history lacks the cosignatures of one of the two.`,
		Example: "  attestor decisions verify --config attestor.yaml --checkpoint yesterday.checkpoint\n" +
			"  attestor decisions verify decision.tlog-proof --key gate.example/decisions+1234abcd+A… --decision " +
			"answer.json",
		RunE: func(c *cobra.Command, args []string) error {
			if path, ok := strings.CutPrefix(f.key, "@"); ok {
				b, err := readEvidence(path)
				if err != nil {
					return fmt.Errorf("--key: %w", err)
				}
				f.key = strings.TrimSpace(string(b))
			}

			// A key that cannot be one is refused before anything is read.
			if f.key != "" {
				if err := translog.CheckKey(f.key); err != nil {
					return fmt.Errorf("--key: %w", err)
				}
			}
			witnesses, err := f.readWitnesses()
			if err != nil {
				return err
			}
			if f.format != "text" && f.format != "json" {
				return errors.New("-o: want text or json")
			}
			if len(args) == 1 {
				return f.proof(c, args[0], witnesses)
			}
			if f.decision != "" {
				return errors.New("--decision goes with a PROOF: it is compared with what the proof is of")
			}
			return f.record(c, witnesses)
		},
	}

	f.where(c)
	c.Flags().StringVar(&f.key, "key", "",
		"the log's public key, as attestor decisions log-key prints it, or @FILE; by default the configuration's")
	c.Flags().StringArrayVar(&f.checkpoints, "checkpoint", nil,
		"a signed checkpoint in this `FILE` that was kept outside of the database, or gs://BUCKET/ORIGIN/checkpoint; "+
			"repeatable; "+
			"by default that of the configuration's log.bucket")
	f.witnessFlag(c)
	c.Flags().StringVar(&f.save, "save-checkpoint", "",
		"write the log's signed checkpoint to this `FILE` where nothing is wrong, for --checkpoint of the next time")
	c.Flags().StringVar(&f.decision, "decision", "", "with PROOF: the decision's JSON in this `FILE`, as the service "+
		"answered it")
	c.Flags().StringVarP(&f.format, "output", "o", "text", "text or json")
	return c
}

// proof verifies one proof offline.
func (f *verifyLogFlags) proof(c *cobra.Command, path string, witnesses []translog.WitnessKey) error {
	if f.key == "" {
		return noKey("a proof is verified by the log's public key, which you have from elsewhere")
	}
	proof, err := readEvidence(path)
	if err != nil {
		return err
	}

	// The decision is optional: without it the proof shows that something with this id was recorded.
	var content []byte
	if f.decision != "" {
		if content, err = readEvidence(f.decision); err != nil {
			return err
		}
	}

	// By the key alone: neither a record nor a service is believed.
	p, err := audit.CheckProof(proof, content, f.key, witnesses...)
	if err != nil {
		return &exit{1, fmt.Errorf("not proven: %w", err)}
	}
	if f.format == "json" {
		out := map[string]any{
			"id": p.Entry.ID, "time": p.Entry.Time, "index": p.Index, "origin": p.Checkpoint.Origin,
			"entries": p.Checkpoint.Size, "decision": json.RawMessage(p.Decision),
		}
		if p.Cosigned != nil {
			out["cosigned"] = p.Cosigned
		}
		return json.NewEncoder(c.OutOrStdout()).Encode(out)
	}

	out := fmt.Sprintf("Proven: decision %s of %s is entry %d of the log %s, whose checkpoint has %s.\n",
		plain.Text(p.Entry.ID), p.Entry.Time.Format("2006-01-02T15:04:05.999999Z07:00"), p.Index,
		plain.Text(p.Checkpoint.Origin), describe.Plural(int(p.Checkpoint.Size), "entry"))
	out += cosigned(p.Cosigned)
	if !p.Entry.Entered.IsZero() {
		out += fmt.Sprintf("It is older than the log and was entered on %s: what it was before is not proven.\n",
			p.Entry.Entered.Format("2006-01-02T15:04:05Z07:00"))
	}
	if p.Decision == nil {
		out += "The proof does not hold what was decided.\n"
	} else {
		var d attestor.Decision
		if err := json.Unmarshal(p.Decision, &d); err != nil {
			return fmt.Errorf("the proven decision cannot be read: %w", err)
		}
		out += "It says: " + plain.Text(describe.Verdict(d)+", "+describe.Name(d)) + ".\n"
	}
	_, err = io.WriteString(c.OutOrStdout(), out)
	return err
}

// readCheckpoint reads a checkpoint from a file, or from a bucket by gs://BUCKET/NAME.
func readCheckpoint(ctx context.Context, path string) ([]byte, error) {
	if !objects.Is(path) {
		return readEvidence(path)
	}

	b, err := objects.Read(ctx, path, os.Getenv)
	if err != nil && attestor.KindOf(err) == attestor.Invalid {
		return nil, err
	}
	if err != nil {
		return nil, &attestor.Error{
			Kind: attestor.Upstream, Msg: "the checkpoint " + path + " cannot be read", Err: err,
			Fix: "check the rights on the bucket, or name another checkpoint with --checkpoint",
		}
	}

	return b, nil
}

// record verifies a whole record.
func (f *verifyLogFlags) record(c *cobra.Command, witnesses []translog.WitnessKey) error {
	r := audit.VerifyRequest{Key: f.key, Witnesses: witnesses, Required: len(witnesses) > 0}
	for _, path := range f.checkpoints {
		b, err := readCheckpoint(c.Context(), path)
		if err != nil {
			return fmt.Errorf("--checkpoint: %w", err)
		}
		r.Kept = append(r.Kept, b)
	}

	// A list that JSON always has, also when nothing is wrong.
	faults := []audit.Fault{}
	r.Fault = func(fault audit.Fault) {
		if f.format == "text" {
			fmt.Fprintln(c.OutOrStdout(), plain.Text(fault.String()))
		} else if len(faults) < maxFaults {
			faults = append(faults, fault)
		}
	}

	v, err := f.compare(c, &r)
	if err != nil && v.Faults > 0 {
		return &exit{1, err} // what was found is wrong, whatever could not be compared
	}
	if err != nil {
		return err
	}
	if f.format == "json" {
		err = json.NewEncoder(c.OutOrStdout()).Encode(struct {
			audit.Verification
			Found []audit.Fault `json:"found"`
		}{v, faults})
	} else {
		_, err = io.WriteString(c.OutOrStdout(), summary(v, r.Key)+witnessed(v, r.Witnesses))
	}
	if err == nil && v.Faults > 0 {
		return &exit{1, nil}
	}
	return err
}

// maxFaults bounds the faults of a JSON document, which has their number too.
const maxFaults = 10_000

// compare verifies by the service, or in the record itself.
func (f *verifyLogFlags) compare(c *cobra.Command, r *audit.VerifyRequest) (v audit.Verification, err error) {
	if f.server != "" {
		return f.compareServed(c, *r)
	}

	// What the configuration knows fills in what no flag named: the key, the checkpoint in its bucket, the witnesses.
	if err := f.findKey(c.Context(), c.ErrOrStderr(), r); err != nil {
		return v, err
	}
	if err := f.findKept(c.Context(), r); err != nil {
		return v, err
	}
	if err := f.findWitnesses(r); err != nil {
		return v, err
	}
	s, err := f.openStore(c.Context())
	if err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	v, err = s.Verify(c.Context(), *r)
	return v, f.keep(c.Context(), v, err, r.Key, s.Checkpoint)
}

func (f *verifyLogFlags) compareServed(c *cobra.Command, r audit.VerifyRequest) (v audit.Verification, err error) {
	if r.Key == "" {
		return v, noKey("a service is verified by the log's public key, which you have from elsewhere")
	}
	cl, err := newClient(c, f.server, f.identity)
	if err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, cl.Close()) }()
	v, err = audit.VerifyServed(c.Context(), audit.ServedLog{
		Checkpoint: cl.Checkpoint, Tile: cl.LogTile, Proof: cl.Proof, Witnessed: cl.WitnessedCheckpoint,
	}, r)
	return v, f.keep(c.Context(), v, err, r.Key, cl.Checkpoint)
}

// noKey is the error of a verification without the log's public key. The service itself is not asked for it: whoever
// speaks for the service would choose by which key it is verified.
func noKey(why string) error {
	return &attestor.Error{
		Kind: attestor.Invalid, Msg: "--key: " + why,
		Fix: "have whoever configures the gate run attestor decisions log-key --config attestor.yaml > log.pub, and give " +
			"--key @log.pub",
	}
}

// keep writes the newest checkpoint to a file where the record is as it was recorded.
func (f *verifyLogFlags) keep(
	ctx context.Context, v audit.Verification, err error, key string, newest func(context.Context) ([]byte, error),
) error {
	if err != nil || v.Faults > 0 || f.save == "" {
		return err
	}

	// The newest checkpoint is verified by the log's key before it is kept as proof for the next time.
	signed, err := newest(ctx)
	if err != nil {
		return err
	}
	if _, err := translog.OpenCheckpoint(signed, key); err != nil {
		return err
	}
	return writeFile(f.save, 0o644, func(w io.Writer) error { // a checkpoint is no secret
		_, err := w.Write(signed)
		return err
	})
}

// findKey takes the public key from the configuration, unless it was given.
func (f *verifyLogFlags) findKey(ctx context.Context, stderr io.Writer, r *audit.VerifyRequest) error {
	if r.Key != "" {
		return nil
	}

	conf, err := configured(f.config)
	if err != nil {
		return err
	}
	if conf.Log == nil {
		_,
			err := fmt.Fprintln(stderr, "The log is not signed (log.key): a change of the whole database would "+
			"not be found.")
		return err
	}

	if r.Key, err = engine.LogVerifier(ctx, conf, os.Getenv); err != nil {
		return &exit{3, fmt.Errorf("the log's public key cannot be read; name it with --key: %w", err)}
	}

	return nil
}

// findKept takes the checkpoint of the configuration's bucket, unless one was given. That there is none is no error:
// the log may not have been copied yet.
func (f *verifyLogFlags) findKept(ctx context.Context, r *audit.VerifyRequest) error {
	if len(f.checkpoints) > 0 {
		return nil
	}
	conf, err := configured(f.config)
	if err != nil {
		return err
	}
	if conf.Log == nil || conf.Log.Bucket == "" {
		return nil
	}

	// The bucket has the log under its origin, as the service copies it.
	place := strings.TrimSuffix(conf.Log.Bucket, "/") + "/" + conf.Log.Origin + "/checkpoint"
	b, err := readCheckpoint(ctx, place)
	switch {
	case errors.Is(err, objects.ErrNone):
		return nil
	case err != nil:
		return fmt.Errorf("log.bucket: %w", err)
	}
	r.Kept = append(r.Kept, b)
	return nil
}

// summary is the result in sentences.
func summary(v audit.Verification, key string) string {
	out := "All is as it was recorded"
	if v.Faults > 0 {
		out = fmt.Sprintf("NOT as it was recorded: %s", describe.Plural(int(v.Faults), "fault"))
	}
	out += fmt.Sprintf(": %s, %s compared, %d pruned.\n",
		describe.Plural(int(v.Entries), "entry"), describe.Plural(int(v.Records), "record"), v.Pruned)

	// What was not compared is said, so that nobody takes it for unchanged.
	if v.NotEntered > 0 {
		out += fmt.Sprintf("Not compared, since they are older than the log and not entered yet: %s.\n",
			describe.Plural(int(v.NotEntered), "record"))
	}
	switch {
	case key == "":
	case v.Signed == 0:
		out += "No checkpoint was compared: a change of the whole database would not be found.\n"
	default:
		out += fmt.Sprintf("Compared with a signed checkpoint: %s.\n", describe.Plural(int(v.Signed), "entry"))
	}
	return out
}
