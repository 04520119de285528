"""What each panel shows, by its title: the text behind the ``i`` in its corner."""

MEANINGS = {
    # of calls
    "Traffic": "Calls in a second, HTTP and gRPC.",
    "Success rate": "The share of calls that no server spoiled: neither 5xx, nor no answer at all, "
    "nor one of gRPC's statuses 2, 4, 12 to 15.",
    "4xx": "Calls in a second that the caller got wrong: 4xx, or one of gRPC's other statuses.",
    "5xx": "Calls in a second that a server spoiled, in HTTP or gRPC.",
    "By mutual TLS": "The share of calls that came in over mutual TLS, as servers saw it.",
    "HTTP and gRPC": "Each workload that is called: how much, how fast, how well.",
    "Duration": "Until the end of the answer, in milliseconds: half of the calls, nine of ten, and "
    "99 of 100 took no longer.",
    "Duration, p99": "99 of 100 calls took no longer until the end of their answer.",
    "Traffic by version": "Calls in a second by the canonical service and revision that answered.",
    "By version and security": "The same, as servers saw it, with how each connection was secured.",
    "By security": "Calls in a second that came in, by how the connection was secured.",
    "By caller and code": "Calls in a second by who called, HTTP status and gRPC status.",
    "By service and code": "Calls in a second by who was called, HTTP status, gRPC status and "
    "Envoy's response flags.",
    "By service": "Calls in a second by who was called.",
    # of one service, from both ends
    "Traffic, clients say": "Calls in a second, counted where they were made.",
    "Success rate, clients say": "As callers see it: with calls that never reached a server.",
    "Traffic, servers say": "Calls in a second, counted where they were served.",
    "Success rate, servers say": "As servers see it: of calls that reached them.",
    "Duration, clients say": "With connecting, retries and waiting.",
    "Duration, servers say": "From the request's arrival to the end of the answer.",
    "By caller and code, clients say": "Calls in a second by who called and what came of it, "
    "counted where they were made.",
    "By caller and code, servers say": "The same, counted where they were served.",
    "Success rate by caller": "The share of each caller's calls that no server spoiled.",
    "Duration by caller, p99": "99 of 100 calls of each caller took no longer.",
    "Made, by why": "Further attempts in a second: retries by their reason, and hedges.",
    "Denied, by why": "Further attempts that a budget or a limit did not allow.",
    "Requests: size": "Of bodies, as the server had them.",
    "Requests: octets a second": "Bodies that came in, by caller.",
    "Responses: size": "Of bodies, as the server sent them.",
    "Responses: octets a second": "Bodies that went out, by caller.",
    # of one workload
    "Comes in": "Calls in a second that this workload serves.",
    "Success rate, in": "The share of them that it did not spoil.",
    "Goes out": "Calls in a second that this workload makes, counted by itself.",
    "Success rate, out": "The share of them that nobody spoiled.",
    "In: size, p90": "Nine of ten bodies that this workload was asked with, and answered with, "
    "were no larger.",
    "Out: size, p90": "Nine of ten bodies of the calls that it makes were no larger.",
    "Octets a second": "Bodies of requests and responses, of calls served and of calls made.",
    "gRPC messages a second": "Messages of gRPC, of which a stream has many.",
    # of members
    "Configurations in force": "Members by the version that they run on: one line when all agree.",
    "Attempts after others": "Retries and hedges in a second, by cluster and kind.",
    "Endpoints left out": "Ejected by outlier detection now.",
    "Circuit breakers open": "How many of them let no further call through now, by cluster.",
    "Certificates end in": "Until the certificate of a member is no longer good; it is replaced "
    "long before that.",
    "Calls without TLS": "Calls in a second that were let in as plain text, by who called.",
    # of the control plane
    "Clients": "Streams that are open.",
    "Clients that refuse": "Streams with a NACK: that client runs on an older configuration.",
    "Version": "Of the configuration that is served.",
    "Age of the configuration": "Since the last edit that was put in force.",
    "Pushes": "Responses to clients in a second.",
    "Push, p99": "From a change until 99 of 100 clients were sent all of it.",
    "By type": "Responses in a second by the type of their resources.",
    "Answers": "What clients said to them: ACK or NACK.",
    "From a change to its push": "How many pushes took how long.",
    "From a push to its answer": "How many clients took how long to answer.",
    "Edits": "Of the manifests: put in force, refused, or taken back after a NACK.",
    "Age": "Of the configuration that is served, by instance.",
    "Registered workloads": "Those that registered themselves, by what is known of them.",
    "Turned away": "Streams beyond a limit, and workloads that were not let in.",
    "Calls, as clients report them": "By load reports (LRS), which members send now and then.",
    "Connected": "Members with a stream that works.",
    "Resources that came": "To members in a second, accepted and refused.",
    "From a push until it is in force": "At members, from the response to the call that obeys it.",
    "Memory": "Of the program, as far as it is not swapped out.",
    "Processors": "How many of them the program keeps busy.",
}
