@main enum GraphBuilderCommand { static func main() {} }
