// logcheck reads a log, or a proof of one of its entries, as filippo.io/torchwood does, under a C2SP policy file.
//
//	logcheck log BASE POLICY            checkpoint, then every entry against the tree; BASE is a URL or a folder
//	logcheck proof POLICY PROOF ENTRY   a tlog-proof file of an entry, whose bytes are the file ENTRY
//
// $AUTHORIZATION goes along with every request. The last line of the output is "ok …" exactly when all held.
package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"
)

type source interface {
	torchwood.TileReader
	ReadEndpoint(ctx context.Context, path string) ([]byte, error)
}

type authorized struct{}

func (authorized) RoundTrip(request *http.Request) (*http.Response, error) {
	request.Header.Set("Authorization", os.Getenv("AUTHORIZATION"))
	return http.DefaultTransport.RoundTrip(request)
}

func main() {
	log.SetFlags(0)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if len(os.Args) == 4 && os.Args[1] == "log" {
		checkLog(ctx, os.Args[2], readPolicy(os.Args[3]))
	} else if len(os.Args) == 5 && os.Args[1] == "proof" {
		checkProof(readPolicy(os.Args[2]), read(os.Args[3]), read(os.Args[4]))
	} else {
		log.Fatal("usage: logcheck log BASE POLICY | logcheck proof POLICY PROOF ENTRY")
	}
}

func checkLog(ctx context.Context, base string, policy torchwood.Policy) {
	tiles, err := open(base)
	must("open", err)
	signed, err := tiles.ReadEndpoint(ctx, "checkpoint")
	must("checkpoint", err)
	checkpoint, note, err := torchwood.VerifyCheckpoint(signed, policy)
	must("checkpoint", err)
	client, err := torchwood.NewClient(tiles)
	must("client", err)
	count, sum := int64(0), sha256.New()
	for _, entry := range client.AllEntries(ctx, checkpoint.Tree, 0) {
		sum.Write(entry)
		count++
	}
	must("entries", client.Err())
	if count != checkpoint.N {
		log.Fatalf("%d entries of %d", count, checkpoint.N)
	}
	fmt.Printf("ok origin=%s size=%d signatures=%d entries=%x\n", checkpoint.Origin, count, len(note.Sigs), sum.Sum(nil))
}

func checkProof(policy torchwood.Policy, proof []byte, entry []byte) {
	must("proof", torchwood.VerifyProof(policy, tlog.RecordHash(entry), proof))
	fmt.Println("ok proof")
}

func open(base string) (source, error) {
	if !strings.HasPrefix(base, "http") {
		return torchwood.NewTileFS(os.DirFS(base))
	}
	return torchwood.NewTileFetcher(base, torchwood.WithHTTPClient(&http.Client{Transport: authorized{}}))
}

func readPolicy(path string) torchwood.Policy {
	policy, err := torchwood.ParsePolicy(read(path))
	must("policy", err)
	return policy
}

func read(path string) []byte {
	bytes, err := os.ReadFile(path)
	must("read", err)
	return bytes
}

func must(what string, err error) {
	if err != nil {
		log.Fatal(what, ": ", err)
	}
}
