// Verifies checkpoints and proofs with golang.org/x/mod, a third-party implementation.
//
// Reads one case per line from standard input and prints true or false for each. The Debian packages golang-go and
// golang-golang-x-mod-dev are enough: GO111MODULE=off GOPATH=/usr/share/gocode go run tests/clients/go/main.go
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type testCase struct {
	// The verifier key that the reader trusts.
	Key string
	// A signed checkpoint.
	Note string
	// An earlier signed checkpoint, for a consistency proof. Empty for an inclusion proof.
	Old string
	// The index of the leaf, and its data.
	Index int64
	Leaf  []byte
	Proof []tlog.Hash
}

// checkpoint opens a signed checkpoint. It parses the lines itself, because tlog.ParseTree only accepts the origin of
// go.sum.
func checkpoint(signed, key string) (size int64, root tlog.Hash, err error) {
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return 0, root, err
	}
	opened, err := note.Open([]byte(signed), note.VerifierList(verifier))
	if err != nil {
		return 0, root, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() || lines[3] != "" {
		return 0, root, errors.New("malformed checkpoint, or of another log")
	}
	if size, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return 0, root, err
	}
	root, err = tlog.ParseHash(lines[2])
	return size, root, err
}

func verify(one testCase) error {
	size, root, err := checkpoint(one.Note, one.Key)
	if err != nil {
		return err
	}
	if one.Old == "" {
		return tlog.CheckRecord(one.Proof, size, root, one.Index, tlog.RecordHash(one.Leaf))
	}
	oldSize, oldRoot, err := checkpoint(one.Old, one.Key)
	if err != nil {
		return err
	}
	return tlog.CheckTree(one.Proof, size, root, oldSize, oldRoot)
}

func main() {
	output := bufio.NewWriter(os.Stdout)
	defer output.Flush()
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var one testCase
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			log.Fatal(err)
		}
		fmt.Fprintln(output, verify(one) == nil)
	}
	if err := lines.Err(); err != nil {
		log.Fatal(err)
	}
}
