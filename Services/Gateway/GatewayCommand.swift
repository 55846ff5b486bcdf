import ArgumentParser
import AsyncHTTPClient
import Configuration
import Hummingbird
import HummingbirdHTTP2
import HummingbirdTLS
import JWTKit

@main enum GatewayCommand { static func main() {} }
