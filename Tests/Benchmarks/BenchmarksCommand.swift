@main enum BenchmarksCommand { static func main() {} }
