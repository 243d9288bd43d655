// sumdbcheck reads a C2SP tlog-tiles log with the packages of the Go project's checksum database,
// golang.org/x/mod/sumdb/note and tlog, which know nothing of us.
//
//	sumdbcheck BASE VKEY < PROOFS
//
// It opens the checkpoint's note, authenticates every tile against its root, hashes every entry of every bundle, proves
// and checks every entry and every earlier size against the root, and then checks the proofs on standard input, which
// the log's own code made: JSON {"inclusion": [{"index", "size", "leaf", "proof"}], "consistency": [{"from", "to",
// "proof"}]} with hashes as hex digits.
// $AUTHORIZATION goes along with every request. The last line of the output is "ok …" exactly when all held.
package main

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const tileHeight = 8

type tiles struct {
	base string
	// Tiles that were authenticated, by path.
	known map[string][]byte
}

func (t tiles) Height() int { return tileHeight }

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	data := make([][]byte, len(wanted))
	for i, tile := range wanted {
		if data[i] = t.known[path(tile)]; data[i] != nil {
			continue
		}
		bytes, err := t.get(path(tile))
		if err != nil {
			return nil, err
		}
		data[i] = bytes
	}
	return data, nil
}

func (t tiles) SaveTiles(read []tlog.Tile, data [][]byte) {
	for i, tile := range read {
		t.known[path(tile)] = data[i]
	}
}

func path(tile tlog.Tile) string {
	return fmt.Sprintf("tile/%d/%s", tile.L, number(tile.N, tile.W))
}

// number spells tile indexes as C2SP tlog-tiles does; tlog.Tile.Path is the checksum database's own scheme.
func number(n int64, width int) string {
	text := fmt.Sprintf("%03d", n%1000)
	for n >= 1000 {
		n /= 1000
		text = fmt.Sprintf("x%03d/%s", n%1000, text)
	}
	if width < 1<<tileHeight {
		text += ".p/" + strconv.Itoa(width)
	}
	return text
}

var client = &http.Client{Timeout: 30 * time.Second}

func (t tiles) get(path string) ([]byte, error) {
	request, err := http.NewRequest("GET", t.base+"/"+path, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", os.Getenv("AUTHORIZATION"))
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != 200 {
		return nil, fmt.Errorf("%s: %s", path, response.Status)
	}
	return io.ReadAll(response.Body)
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: sumdbcheck BASE VKEY < PROOFS")
	}
	source := tiles{strings.TrimSuffix(os.Args[1], "/"), map[string][]byte{}}
	tree := checkpoint(source, os.Args[2])
	hashes := tlog.TileHashReader(tree, source)
	leaves := entries(source, tree, hashes)
	roots := prove(tree, hashes, leaves)
	inclusion, consistency := given(roots, leaves)
	fmt.Printf("ok size=%d root=%s inclusion=%d consistency=%d\n", tree.N, tree.Hash, inclusion, consistency)
}

// checkpoint opens the signed note; its text is origin, size, root.
func checkpoint(source tiles, vkey string) tlog.Tree {
	verifier, err := note.NewVerifier(vkey)
	must("vkey", err)
	signed, err := source.get("checkpoint")
	must("checkpoint", err)
	opened, err := note.Open(signed, note.VerifierList(verifier))
	must("note", err)
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() || lines[3] != "" {
		log.Fatalf("not a checkpoint of %s: %q", verifier.Name(), opened.Text)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	must("size", err)
	root, err := tlog.ParseHash(lines[2])
	must("root", err)
	return tlog.Tree{N: size, Hash: root}
}

// entries hashes every entry of every bundle and compares it with the authenticated leaf hash.
func entries(source tiles, tree tlog.Tree, hashes tlog.HashReader) []tlog.Hash {
	var leaves []tlog.Hash
	for bundle := int64(0); bundle<<tileHeight < tree.N; bundle++ {
		width := min(1<<tileHeight, tree.N-bundle<<tileHeight)
		data, err := source.get("tile/entries/" + number(bundle, int(width)))
		must("bundle", err)
		for range width {
			if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
				log.Fatalf("bundle %d ends early", bundle)
			}
			end := 2 + int(binary.BigEndian.Uint16(data))
			leaves = append(leaves, tlog.RecordHash(data[2:end]))
			data = data[end:]
		}
		if len(data) > 0 {
			log.Fatalf("bundle %d goes on where it should end", bundle)
		}
	}
	indexes := make([]int64, len(leaves))
	for i := range leaves {
		indexes[i] = tlog.StoredHashIndex(0, int64(i))
	}
	known, err := hashes.ReadHashes(indexes)
	must("tiles", err)
	for i, leaf := range leaves {
		if leaf != known[i] {
			log.Fatalf("entry %d has another hash than the tiles say", i)
		}
	}
	return leaves
}

// prove makes and checks a proof of every entry and of every earlier size; it returns the roots of all sizes.
func prove(tree tlog.Tree, hashes tlog.HashReader, leaves []tlog.Hash) []tlog.Hash {
	roots := rootsOf(leaves)
	if roots[tree.N] != tree.Hash {
		log.Fatal("the entries do not give the root")
	}
	for i, leaf := range leaves {
		index := int64(i)
		proof, err := tlog.ProveRecord(tree.N, index, hashes)
		must("prove", err)
		must("check", tlog.CheckRecord(proof, tree.N, tree.Hash, index, leaf))
		grown, err := tlog.ProveTree(tree.N, index+1, hashes)
		must("prove", err)
		must("check", tlog.CheckTree(grown, tree.N, tree.Hash, index+1, roots[index+1]))
	}
	return roots
}

// rootsOf computes the root of every size from the leaf hashes alone.
func rootsOf(leaves []tlog.Hash) []tlog.Hash {
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			out[i] = stored[index]
		}
		return out, nil
	})
	roots := make([]tlog.Hash, 1, len(leaves)+1)
	for i, leaf := range leaves {
		more, err := tlog.StoredHashesForRecordHash(int64(i), leaf, reader)
		must("hashes", err)
		stored = append(stored, more...)
		root, err := tlog.TreeHash(int64(i)+1, reader)
		must("root", err)
		roots = append(roots, root)
	}
	return roots
}

// given checks proofs that the log's own code made, against roots computed here.
func given(roots, leaves []tlog.Hash) (inclusion, consistency int) {
	var proofs struct {
		Inclusion []struct {
			Index, Size int64
			Leaf        string
			Proof       []string
		}
		Consistency []struct {
			From, To int64
			Proof    []string
		}
	}
	must("proofs", json.NewDecoder(os.Stdin).Decode(&proofs))
	for _, one := range proofs.Inclusion {
		if one.Size >= int64(len(roots)) || one.Index >= one.Size || parse(one.Leaf) != leaves[one.Index] {
			log.Fatalf("entry %d of %d is another one", one.Index, one.Size)
		}
		must("inclusion", tlog.CheckRecord(parseAll(one.Proof), one.Size, roots[one.Size], one.Index, leaves[one.Index]))
	}
	for _, one := range proofs.Consistency {
		if one.From < 1 || one.From > one.To || one.To >= int64(len(roots)) {
			log.Fatalf("no sizes: %d and %d", one.From, one.To)
		}
		proof := tlog.TreeProof(parseAll(one.Proof))
		must("consistency", tlog.CheckTree(proof, one.To, roots[one.To], one.From, roots[one.From]))
	}
	return len(proofs.Inclusion), len(proofs.Consistency)
}

func parse(text string) (hash tlog.Hash) {
	bytes, err := hex.DecodeString(text)
	must("hash", err)
	if len(bytes) != tlog.HashSize {
		log.Fatalf("not a hash: %q", text)
	}
	return tlog.Hash(bytes)
}

func parseAll(texts []string) (hashes tlog.RecordProof) {
	for _, text := range texts {
		hashes = append(hashes, parse(text))
	}
	return hashes
}

func must(what string, err error) {
	if err != nil {
		log.Fatal(what, ": ", err)
	}
}
