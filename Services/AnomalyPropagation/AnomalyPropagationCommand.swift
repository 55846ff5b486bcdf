@main enum AnomalyPropagationCommand { static func main() {} }
