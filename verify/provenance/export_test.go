package provenance

// Parse is parse.
var Parse = parse
