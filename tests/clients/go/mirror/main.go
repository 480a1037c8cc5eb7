// Mirrors a log over HTTP with golang.org/x/mod, a third-party implementation. It fetches the checkpoint, all tiles,
// which it checks against the checkpoint's root, and all entries, which it hashes again.
//
// GO111MODULE=off GOPATH=/usr/share/gocode go run tests/clients/go/mirror/main.go. Environment: AUDITLOG_LOG is the URL
// up to `checkpoint`, AUDITLOG_API_KEY a key with the scope verify, and AUDITLOG_VERIFIER_KEY the key that the mirror
// trusts.
package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// The levels in a tile, and the hashes in its lowest level.
const (
	height = 8
	width  = 1 << height
)

func fetch(path string) ([]byte, error) {
	request, err := http.NewRequest("GET", os.Getenv("AUDITLOG_LOG")+path, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+os.Getenv("AUDITLOG_API_KEY"))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, response.Status, body)
	}
	return body, err
}

// checkpoint opens the signed checkpoint. It parses the lines itself, because tlog.ParseTree only accepts the origin of
// go.sum.
func checkpoint() (tree tlog.Tree, err error) {
	verifier, err := note.NewVerifier(os.Getenv("AUDITLOG_VERIFIER_KEY"))
	if err != nil {
		return tree, err
	}
	signed, err := fetch("checkpoint")
	if err != nil {
		return tree, err
	}
	opened, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return tree, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() || lines[3] != "" {
		return tree, errors.New("malformed checkpoint, or of another log")
	}
	if tree.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return tree, err
	}
	tree.Hash, err = tlog.ParseHash(lines[2])
	return tree, err
}

// tiles reads tiles at the paths of C2SP tlog-tiles, which omit the height that Go's paths contain.
type tiles struct{ saved int }

func (*tiles) Height() int { return height }

func (*tiles) ReadTiles(asked []tlog.Tile) ([][]byte, error) {
	data := make([][]byte, len(asked))
	for place, tile := range asked {
		var err error
		path := "tile/" + strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/", height))
		if data[place], err = fetch(path); err != nil {
			return nil, err
		}
	}
	return data, nil
}

// SaveTiles counts the tiles. tlog calls it after checking them against the tree's hash.
func (t *tiles) SaveTiles(checked []tlog.Tile, _ [][]byte) { t.saved += len(checked) }

// root recomputes the root from the leaves. TileHashReader should be enough, but that of x/mod 0.7, Debian's version,
// leaves full tiles unchecked if the tree's hash needs several hashes of one tile.
func root(leaves []tlog.Hash) (tlog.Hash, error) {
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		hashes := make([]tlog.Hash, len(indexes))
		for place, index := range indexes {
			hashes[place] = stored[index]
		}
		return hashes, nil
	})
	for number, leaf := range leaves {
		hashes, err := tlog.StoredHashesForRecordHash(int64(number), leaf, reader)
		if err != nil {
			return tlog.Hash{}, err
		}
		stored = append(stored, hashes...)
	}
	return tlog.TreeHash(int64(len(leaves)), reader)
}

// leaves returns the leaves of a bundle.
func leaves(tile tlog.Tile) (leaves [][]byte, err error) {
	tile.L = -1
	path := strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/data/", height))
	bundle, err := fetch("tile/entries/" + path)
	if err != nil {
		return nil, err
	}
	for len(bundle) > 0 {
		if len(bundle) < 2 || len(bundle)-2 < int(binary.BigEndian.Uint16(bundle)) {
			return nil, errors.New("a bundle ends within an entry")
		}
		length := int(binary.BigEndian.Uint16(bundle))
		leaves, bundle = append(leaves, bundle[2:2+length]), bundle[2+length:]
	}
	return leaves, nil
}

// entries hashes all entries again and compares them with the leaf hashes in `known`.
func entries(known []tlog.Hash) error {
	for first := 0; first < len(known); first += width {
		count := len(known) - first
		if count > width {
			count = width
		}
		bundle, err := leaves(tlog.Tile{H: height, N: int64(first / width), W: count})
		if err != nil {
			return err
		}
		if len(bundle) != count {
			return fmt.Errorf("%d entries from %d on, not %d", len(bundle), first, count)
		}
		for place, leaf := range bundle {
			if tlog.RecordHash(leaf) != known[first+place] {
				return fmt.Errorf("entry %d is not that of the tree", first+place+1)
			}
		}
	}
	return nil
}

// proofs fetches proofs from the service and compares them with proofs computed from the tiles.
func proofs(tree tlog.Tree, reader tlog.HashReader) error {
	for turn := int64(0); turn < 20; turn++ {
		index := (tree.N - 1) * turn / 19
		var included, extended struct{ Hashes []tlog.Hash }
		body, err := fetch(fmt.Sprintf("inclusion-proof?sequence=%d&size=%d", index+1, tree.N))
		if err != nil {
			return err
		}
		if err := json.Unmarshal(body, &included); err != nil {
			return err
		}
		leaf, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(0, index)})
		if err != nil {
			return err
		}
		if err := tlog.CheckRecord(included.Hashes, tree.N, tree.Hash, index, leaf[0]); err != nil {
			return err
		}
		if body, err = fetch(fmt.Sprintf("consistency-proof?firstSize=%d&secondSize=%d", index+1, tree.N)); err != nil {
			return err
		}
		if err := json.Unmarshal(body, &extended); err != nil {
			return err
		}
		before, err := tlog.TreeHash(index+1, reader)
		if err != nil {
			return err
		}
		if err := tlog.CheckTree(extended.Hashes, tree.N, tree.Hash, index+1, before); err != nil {
			return err
		}
	}
	return nil
}

func mirror() error {
	tree, err := checkpoint()
	if err != nil {
		return err
	}
	reader := &tiles{}
	hashes := tlog.TileHashReader(tree, reader)
	indexes := make([]int64, tree.N)
	for index := range indexes {
		indexes[index] = tlog.StoredHashIndex(0, int64(index))
	}
	known, err := hashes.ReadHashes(indexes)
	if err != nil {
		return err
	}
	whole, err := root(known)
	if err != nil {
		return err
	}
	if whole != tree.Hash {
		return errors.New("an inconsistent tile that its reader did not see")
	}
	fmt.Println("tiles", reader.saved)
	if err := entries(known); err != nil {
		return err
	}
	fmt.Println("entries", len(known))
	return proofs(tree, hashes)
}

func main() {
	if err := mirror(); err != nil {
		log.Fatal(err)
	}
	fmt.Println("mirrored")
}
