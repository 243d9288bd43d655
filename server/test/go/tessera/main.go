// tesseracheck URL VKEY: reads a whole log with Tessera's client, as anybody would who uses it, and verifies all of it:
// the checkpoint's signature and origin, every entry against its leaf hash, the root over all of them, inclusion proofs
// of entries and consistency proofs between sizes. Prints "ok" and what it saw, or exits 1. The Authorization header
// comes from AUTHORIZATION.
package main

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/client"
	"golang.org/x/mod/sumdb/note"
)

func main() {
	log.SetFlags(0)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := check(ctx, os.Args[1], os.Args[2]); err != nil {
		log.Fatal("FAILED: ", err)
	}
}

func check(ctx context.Context, address, vkey string) error {
	root, err := url.Parse(strings.TrimSuffix(address, "/") + "/")
	if err != nil {
		return err
	}
	fetcher, err := client.NewHTTPFetcher(root, nil)
	if err != nil {
		return err
	}
	if header := os.Getenv("AUTHORIZATION"); header != "" {
		fetcher.SetAuthorizationHeader(header)
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return fmt.Errorf("vkey: %w", err)
	}
	cp, _, _, err := client.FetchCheckpoint(ctx, fetcher.ReadCheckpoint, verifier, verifier.Name())
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	leaves, roots, err := readEntries(ctx, fetcher, cp.Size)
	if err != nil {
		return err
	}
	if !bytes.Equal(roots[cp.Size], cp.Hash) {
		return fmt.Errorf("the entries have root %x, the checkpoint says %x", roots[cp.Size], cp.Hash)
	}
	hashes, err := client.FetchLeafHashes(ctx, fetcher.ReadTile, 0, cp.Size, cp.Size)
	if err != nil {
		return fmt.Errorf("tiles: %w", err)
	}
	for i, hash := range hashes {
		if !bytes.Equal(hash, leaves[i]) {
			return fmt.Errorf("entry %d has another hash than its tile says", i)
		}
	}
	builder, err := client.NewProofBuilder(ctx, cp.Size, fetcher.ReadTile)
	if err != nil {
		return fmt.Errorf("proofs: %w", err)
	}
	for i := uint64(0); i < cp.Size; i++ {
		if i%37 != 0 && i != cp.Size-1 {
			continue
		}
		inclusion, err := builder.InclusionProof(ctx, i)
		if err != nil {
			return fmt.Errorf("inclusion of %d: %w", i, err)
		}
		if err := proof.VerifyInclusion(rfc6962.DefaultHasher, i, cp.Size, leaves[i], inclusion, cp.Hash); err != nil {
			return fmt.Errorf("inclusion of %d: %w", i, err)
		}
		consistency, err := builder.ConsistencyProof(ctx, i+1, cp.Size)
		if err != nil {
			return fmt.Errorf("consistency from %d: %w", i+1, err)
		}
		if err := proof.VerifyConsistency(rfc6962.DefaultHasher, i+1, cp.Size, consistency, roots[i+1], cp.Hash); err != nil {
			return fmt.Errorf("consistency from %d: %w", i+1, err)
		}
	}
	fmt.Printf("ok origin=%s size=%d root=%x\n", cp.Origin, cp.Size, cp.Hash)
	return nil
}

// readEntries gives the leaf hash of every entry, and the root of every size.
func readEntries(ctx context.Context, fetcher *client.HTTPFetcher, size uint64) (leaves, roots [][]byte, err error) {
	factory := compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
	tree := factory.NewEmptyRange(0)
	roots = append(roots, rfc6962.DefaultHasher.EmptyRoot())
	for i := uint64(0); i*256 < size; i++ {
		bundle, err := client.GetEntryBundle(ctx, fetcher.ReadEntryBundle, i, size)
		if err != nil {
			return nil, nil, fmt.Errorf("entries: %w", err)
		}
		for _, entry := range bundle.Entries {
			leaf := rfc6962.DefaultHasher.HashLeaf(entry)
			if err := tree.Append(leaf, nil); err != nil {
				return nil, nil, err
			}
			root, err := tree.GetRootHash(nil)
			if err != nil {
				return nil, nil, err
			}
			leaves, roots = append(leaves, leaf), append(roots, root)
		}
	}
	if uint64(len(leaves)) != size {
		return nil, nil, fmt.Errorf("%d entries, the checkpoint says %d", len(leaves), size)
	}
	return leaves, roots, nil
}
