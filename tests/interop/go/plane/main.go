// The snapshot cache of go-control-plane as a control plane, for clients that are judged.
//
// Usage: plane HOST:PORT. Each line read is a command as JSON, answered by a line of JSON:
//
//	{"do": "set", "version": "1", "resources": ["…"]}   a snapshot; each a serialized Any, base64
//	{"do": "clear"}                                      no snapshot at all
//	{"do": "restart"}                                    every stream ends; the port opens again
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"os"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

const (
	everyone   = "everyone"
	maxCommand = 64 << 20
)

type oneGroup struct{}

func (oneGroup) ID(*core.Node) string { return everyone }

type command struct {
	Do        string   `json:"do"`
	Version   string   `json:"version"`
	Resources [][]byte `json:"resources"`
}

type plane struct {
	address string
	cache   cache.SnapshotCache
	server  *grpc.Server
}

func main() {
	// Not its ADS mode, which says nothing to a client that asks for less than the whole snapshot.
	it := &plane{address: os.Args[1], cache: cache.NewSnapshotCache(false, oneGroup{}, nil)}
	if err := it.start(); err != nil {
		log.Fatal(err)
	}
	answers := json.NewEncoder(os.Stdout)
	_ = answers.Encode(map[string]string{"address": it.address})
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, maxCommand)
	for lines.Scan() {
		said := map[string]string{}
		if err := it.obey(lines.Bytes()); err != nil {
			said["error"] = err.Error()
		}
		_ = answers.Encode(said)
	}
	it.server.Stop()
}

func (it *plane) start() error {
	listener, err := net.Listen("tcp", it.address)
	if err != nil {
		return err
	}
	it.address = listener.Addr().String()
	it.server = grpc.NewServer()
	ads := server.NewServer(context.Background(), it.cache, nil)
	discovery.RegisterAggregatedDiscoveryServiceServer(it.server, ads)
	go func() { _ = it.server.Serve(listener) }()
	return nil
}

func (it *plane) obey(line []byte) error {
	var asked command
	if err := json.Unmarshal(line, &asked); err != nil {
		return err
	}
	switch asked.Do {
	case "set":
		return it.set(asked)
	case "clear":
		it.cache.ClearSnapshot(everyone)
		return nil
	case "restart":
		it.server.Stop()
		return it.start()
	default:
		return fmt.Errorf("no such command: %q", asked.Do)
	}
}

func (it *plane) set(asked command) error {
	byType := map[string][]types.Resource{}
	for _, given := range asked.Resources {
		var packed anypb.Any
		if err := proto.Unmarshal(given, &packed); err != nil {
			return err
		}
		resource, err := packed.UnmarshalNew()
		if err != nil {
			return err
		}
		byType[packed.TypeUrl] = append(byType[packed.TypeUrl], resource)
	}
	snapshot, err := cache.NewSnapshot(asked.Version, byType)
	if err != nil {
		return err
	}
	return it.cache.SetSnapshot(context.Background(), everyone, snapshot)
}
